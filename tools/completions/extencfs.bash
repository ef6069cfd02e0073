# SPDX-License-Identifier: Apache-2.0
# bash completion for extencfs

_extencfs_mountpoints() {
    local _ mountpoint type
    while read -r _ mountpoint type _; do
        [[ $type == fuse.extencfs || $type == fuse.encfs ]] && printf '%b\n' "$mountpoint"
    done </proc/self/mounts
}

_extencfs() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command='' word
    local password='--passfile --stdinpass --extpass' options=
    COMPREPLY=()
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $word in
            init | migrate | mount | unmount | umount | info | ls | cat | encode | decode | export | check | stats | speed | fastpath-service)
                command=$word
                break
                ;;
        esac
    done
    case $previous in
        --passfile | --new-passfile | --log | --config)
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return
            ;;
        --cipher) options='auto aes-256-gcm xchacha20-poly1305' ;;
        --kdf) options='interactive moderate sensitive' ;;
        --mode) options='auto optimized regular extfuse' ;;
        --transport) options='auto uring classic' ;;
        -o) options='ro rw allow_other suid dev noexec noatime nonempty shared noxattr deny_root guard_lower fsname= idle= mode= transport= allow_uid= allow_gid= map_mb=' ;;
        --allow-uid)
            mapfile -t COMPREPLY < <(compgen -u -- "$current")
            return
            ;;
        --allow-gid | --group)
            mapfile -t COMPREPLY < <(compgen -g -- "$current")
            return
            ;;
        --moved-to | --extpass | --idle | --jobs | --map-mb | --user-mounts | --user-mb | --total-mb) return ;;
    esac
    if [[ -n $options ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
        return
    fi
    case $command in
        '') options='init migrate mount unmount info ls cat encode decode export check stats speed fastpath-service --help --version' ;;
        init) options="$password --cipher --kdf --quiet --help" ;;
        migrate) options="$password --new-passfile --dry-run --verify --jobs --json --yes --finish --rollback --in-place --help" ;;
        mount) options="$password --foreground -o --ro --mode --transport --shared --idle --log --syslog --plaintext-names-in-log --allow-uid --allow-gid --deny-root --guard-lower --map-mb --config --anykey --require-macs --forcedecode --reverse --help" ;;
        unmount | umount) options='--lazy --help' ;;
        info) options='--json --help' ;;
        ls | cat | encode | decode | export) options="$password --config --help" ;;
        check) options="$password --config --json --plain --repair --yes --moved-to --help" ;;
        stats) options='--json --reset --help' ;;
        speed) options='--json --help' ;;
        fastpath-service) options='--group --user-mounts --user-mb --total-mb --help' ;;
    esac
    if [[ $current == -* || -z $command ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
    elif [[ $command == unmount || $command == umount || $command == stats ]]; then
        local IFS=$'\n'
        mapfile -t COMPREPLY < <(compgen -W "$(_extencfs_mountpoints)" -- "$current")
    elif [[ $command != speed && $command != fastpath-service ]]; then
        mapfile -t COMPREPLY < <(compgen -d -- "$current")
    fi
}

complete -o filenames -F _extencfs extencfs

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
    local password='--passfile --stdinpass --extpass' options= verb=
    local opening="$password --keyfile --recovery" fresh='--new-passfile --new-keyfile --recovery-out --kdf'
    COMPREPLY=()
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $word in
            init | migrate | mount | unmount | umount | lock | info | key | passwd | ls | cat | encode | decode | export | check | stats | speed | fastpath-service)
                command=$word
                break
                ;;
        esac
    done
    case $previous in
        --passfile | --new-passfile | --keyfile | --new-keyfile | --recovery | --recovery-out | --log | --config)
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return
            ;;
        --cipher) options='auto aes-256-gcm xchacha20-poly1305' ;;
        --kdf) options='auto interactive moderate sensitive' ;;
        --mode) options='auto optimized regular extfuse' ;;
        --transport) options='auto uring classic' ;;
        --type) options='password keyfile recovery systemd tpm2 fido2' ;;
        --add) options='password keyfile recovery' ;;
        --with-key) options='host tpm2 host+tpm2' ;;
        -o) options='ro rw allow_other suid dev noexec noatime nonempty shared noxattr deny_root guard_lower fsname= idle= mode= transport= allow_uid= allow_gid= map_mb=' ;;
        --allow-uid)
            mapfile -t COMPREPLY < <(compgen -u -- "$current")
            return
            ;;
        --allow-gid | --group)
            mapfile -t COMPREPLY < <(compgen -g -- "$current")
            return
            ;;
        --moved-to | --extpass | --idle | --cache-key | --pcrs | --slot | --label | --jobs | --map-mb | --user-mounts | --user-mb | --total-mb) return ;;
    esac
    if [[ -n $options ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
        return
    fi
    case $command in
        '') options='init migrate mount unmount lock info key passwd ls cat encode decode export check stats speed fastpath-service --help --version' ;;
        init) options="$password --cipher --kdf --quiet --help" ;;
        migrate) options="$opening --slot --new-passfile --cipher --kdf --dry-run --verify --jobs --json --yes --finish --rollback --in-place --help" ;;
        mount) options="$opening --slot --token-only --cache-key --json --foreground -o --ro --mode --transport --shared --idle --log --syslog --plaintext-names-in-log --allow-uid --allow-gid --deny-root --guard-lower --map-mb --config --anykey --require-macs --forcedecode --reverse --reversewrite --ondemand --delaymount --help" ;;
        unmount | umount) options='--lazy --help' ;;
        lock) options='--help' ;;
        info) options='--json --help' ;;
        passwd) options="$opening $fresh --slot --token-only --help" ;;
        key)
            for word in "${COMP_WORDS[@]:2:COMP_CWORD-2}"; do
                case $word in
                    list | add | change | remove | rotate | test | export-header | import-header)
                        verb=$word
                        break
                        ;;
                esac
            done
            case $verb in
                '')
                    options='list add change remove rotate test export-header import-header --help'
                    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
                    return
                    ;;
                list) options='--json --help' ;;
                add) options="$opening $fresh --type --label --with-key --pcrs --pin --token-only --help" ;;
                change) options="$opening $fresh --slot --token-only --help" ;;
                remove) options="$opening --slot --force --token-only --help" ;;
                rotate) options="$opening $fresh --slot --add --label --online --jobs --leave-damaged --json --yes --help" ;;
                test) options="$opening --slot --token-only --help" ;;
                import-header) options="$opening --slot --help" ;;
                export-header) options='--help' ;;
            esac
            ;;
        ls | cat | encode | decode | export) options="$opening --slot --token-only --config --help" ;;
        check) options="$opening --slot --token-only --config --json --plain --repair --yes --moved-to --help" ;;
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

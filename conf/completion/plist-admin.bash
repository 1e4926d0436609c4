# bash completion for plist-admin. Made by 'plist-admin completion' from the table of commands; do not edit.
_plist_admin() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} noun='' verb='' words='' files='' i
  COMPREPLY=()
  case $prev in
    -c|--config) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
    -o|--output) COMPREPLY=($(compgen -W 'table json' -- "$cur")); return ;;
    --diff) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
    --folder) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
    --file) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
    -c|--config|-r|--region|--timeout|-o|--output|--diff|--folder|--file|--rows|--resource|--max-seconds|--interval|--seed|--cases|--histories|--since|--samples|--until|--key|--policy|--type|--limit|--take|--reason|--by|--listen) return ;;
  esac
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
    -c|--config|-r|--region|--timeout|-o|--output|--diff|--folder|--file|--rows|--resource|--max-seconds|--interval|--seed|--cases|--histories|--since|--samples|--until|--key|--policy|--type|--limit|--take|--reason|--by|--listen) ((i++)) ;;
    -*) ;;
    *)
      if [[ -z $noun ]]; then noun=${COMP_WORDS[i]}
      elif [[ -z $verb ]]; then verb=${COMP_WORDS[i]}
      fi ;;
    esac
  done
  case $noun in
    nginx|migrate|routes|seed|status|lag|broker|version|completion) verb='' ;; # the words after these are no commands
  esac
  case "$noun${verb:+ $verb}" in
    '') words='config nginx migrate routes seed status lag policy conflicts dead-letters broker version help --help --version' ;;
    'config check') words='--config --region --output --help' files=1 ;;
    'config show') words='--defaults --config --region --output --help' ;;
    'config schema') words='--help' ;;
    'nginx') words='--diff --check-variant --config --help' ;;
    'migrate') words='--dry-run --status --folder --config --region --timeout --output --help' ;;
    'routes') words='--config --output --help' ;;
    'seed') words='--file --rows --resource --config --region --timeout --output --help' files=1 ;;
    'status') words='--config --region --timeout --output --help' ;;
    'lag') words='--max-seconds --watch --interval --config --region --timeout --output --help' ;;
    'policy list') words='--config --output --help' ;;
    'policy check') words='--resource --seed --cases --histories --config --output --help' files=1 ;;
    'policy replay') words='--since --resource --samples --config --region --timeout --output --help' files=1 ;;
    'policy activate') words='--resource --config --region --timeout --output --help' files=1 ;;
    'conflicts list') words='--since --until --resource --key --policy --type --open --closed --limit --config --region --timeout --output --help' ;;
    'conflicts show') words='--config --region --timeout --output --help' ;;
    'conflicts restore') words='--take --reason --by --yes --config --region --timeout --help' ;;
    'dead-letters list') words='--limit --config --region --timeout --output --help' ;;
    'dead-letters show') words='--config --region --timeout --output --help' ;;
    'dead-letters drop') words='--yes --config --region --timeout --help' ;;
    'broker') words='--listen --config --help' ;;
    'version') words='--output --help' ;;
    'config'|'help config') words='check show schema' ;;
    'policy'|'help policy') words='list check replay activate' ;;
    'conflicts'|'help conflicts') words='list show restore' ;;
    'dead-letters'|'help dead-letters') words='list show drop' ;;
    'help') words='config nginx migrate routes seed status lag policy conflicts dead-letters broker version help' ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
  if [[ -n $files && $cur != -* ]]; then
    compopt -o filenames
    COMPREPLY+=($(compgen -f -- "$cur"))
  fi
}
complete -F _plist_admin plist-admin

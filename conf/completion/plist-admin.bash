# bash completion for plist-admin. Made by 'plist-admin completion' from the table of commands; do not edit.
_plist_admin() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} noun='' verb='' words='' files='' i
  COMPREPLY=()
  case $prev in
    -c|--config) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
    -o|--output) COMPREPLY=($(compgen -W 'table json' -- "$cur")); return ;;
    --check) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
    --folder) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
    --file) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
    --type) COMPREPLY=($(compgen -W 'insert_exists update_origin_differs update_deleted delete_origin_differs delete_missing created_twice multiple_unique_conflicts reference_missing' -- "$cur")); return ;;
    --html) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
    --differing) compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
    -c|--config|-r|--region|--timeout|-o|--output|--check|--principal|--command-config|--role|--expires|--grace|--folder|--file|--rows|--resource|--max-seconds|--interval|--seed|--cases|--since|--samples|--until|--key|--policy|--type|--limit|--take|--reason|--by|--range|--ids|--wait|--html|--from|--differing|--rate|--in|--listen) return ;;
  esac
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
    -c|--config|-r|--region|--timeout|-o|--output|--check|--principal|--command-config|--role|--expires|--grace|--folder|--file|--rows|--resource|--max-seconds|--interval|--seed|--cases|--since|--samples|--until|--key|--policy|--type|--limit|--take|--reason|--by|--range|--ids|--wait|--html|--from|--differing|--rate|--in|--listen) ((i++)) ;;
    -*) ;;
    *)
      if [[ -z $noun ]]; then noun=${COMP_WORDS[i]}
      elif [[ -z $verb ]]; then verb=${COMP_WORDS[i]}
      fi ;;
    esac
  done
  case $noun in
    nginx|migrate|routes|seed|status|lag|compare|audit|republish|repair|broker|version|completion) verb='' ;; # the words after these are not commands
  esac
  case "$noun${verb:+ $verb}" in
    '') words='config nginx kafka keys migrate schema routes seed status lag policy conflicts dead-letters outbox parked compare audit republish repair record region broker version help --help --version' ;;
    'config check') words='--online --config --region --timeout --output --help' files=1 ;;
    'config show') words='--defaults --config --region --output --help' ;;
    'config schema') words='--help' ;;
    'nginx') words='--check --site --system --check-variant --config --help' ;;
    'kafka acls') words='--principal --command-config --config --region --help' ;;
    'keys add') words='--role --expires --config --output --help' ;;
    'keys list') words='--config --output --help' ;;
    'keys revoke') words='--config --help' ;;
    'keys rotate') words='--grace --expires --config --output --help' ;;
    'migrate') words='--dry-run --status --folder --config --region --timeout --output --help' ;;
    'schema diff') words='--config --region --timeout --output --help' ;;
    'schema sql') words='--table --config --region --timeout --help' ;;
    'routes') words='--config --output --help' ;;
    'seed') words='--file --rows --resource --config --region --timeout --output --help' files=1 ;;
    'status') words='--config --region --timeout --output --help' ;;
    'lag') words='--max-seconds --watch --interval --config --region --timeout --output --help' ;;
    'policy list') words='--config --output --help' ;;
    'policy check') words='--resource --seed --cases --config --output --help' files=1 ;;
    'policy replay') words='--since --resource --samples --config --region --timeout --output --help' files=1 ;;
    'policy activate') words='--resource --config --region --timeout --output --help' files=1 ;;
    'conflicts list') words='--since --until --resource --key --policy --type --open --closed --limit --config --region --timeout --output --help' ;;
    'conflicts show') words='--config --region --timeout --output --help' ;;
    'conflicts restore') words='--take --reason --by --yes --config --region --timeout --help' ;;
    'dead-letters list') words='--limit --config --region --timeout --output --help' ;;
    'dead-letters show') words='--config --region --timeout --output --help' ;;
    'dead-letters retry') words='--all --config --region --timeout --help' ;;
    'dead-letters drop') words='--yes --config --region --timeout --help' ;;
    'outbox list') words='--limit --config --region --timeout --output --help' ;;
    'outbox retry') words='--all --config --region --timeout --help' ;;
    'parked list') words='--limit --config --region --timeout --output --help' ;;
    'parked show') words='--config --region --timeout --output --help' ;;
    'parked retry') words='--all --config --region --timeout --help' ;;
    'parked drop') words='--yes --config --region --timeout --help' ;;
    'compare') words='--range --ids --limit --wait --at-once --html --config --region --timeout --output --help' ;;
    'audit') words='--now --wait --limit --config --region --timeout --output --help' ;;
    'republish') words='--from --ids --range --since --differing --all --rate --config --timeout --help' ;;
    'repair') words='--execute --take --reason --range --ids --rate --wait --config --region --timeout --output --help' ;;
    'record reset') words='--in --yes --config --region --timeout --help' ;;
    'region list') words='--config --region --timeout --output --help' ;;
    'region add') words='--dry-run --wait --config --timeout --help' ;;
    'region drain') words='--dry-run --wait --config --timeout --help' ;;
    'region resume') words='--dry-run --config --timeout --help' ;;
    'region remove') words='--dry-run --leave-behind --config --timeout --help' ;;
    'region rebuild') words='--from --dry-run --wait --config --timeout --help' ;;
    'region accept') words='--dry-run --config --timeout --help' ;;
    'broker') words='--listen --config --help' ;;
    'version') words='--output --help' ;;
    'config'|'help config') words='check show schema' ;;
    'kafka'|'help kafka') words='acls' ;;
    'keys'|'help keys') words='add list revoke rotate' ;;
    'schema'|'help schema') words='diff sql' ;;
    'policy'|'help policy') words='list check replay activate' ;;
    'conflicts'|'help conflicts') words='list show restore' ;;
    'dead-letters'|'help dead-letters') words='list show retry drop' ;;
    'outbox'|'help outbox') words='list retry' ;;
    'parked'|'help parked') words='list show retry drop' ;;
    'record'|'help record') words='reset' ;;
    'region'|'help region') words='list add drain resume remove rebuild accept' ;;
    'help') words='config nginx kafka keys migrate schema routes seed status lag policy conflicts dead-letters outbox parked compare audit republish repair record region broker version help' ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
  if [[ -n $files && $cur != -* ]]; then
    compopt -o filenames
    COMPREPLY+=($(compgen -f -- "$cur"))
  fi
}
complete -F _plist_admin plist-admin

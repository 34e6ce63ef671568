#!/bin/sh
# Stands for shutdown, poweroff and halt inside an instance: tells its first process when to end.
power="${MAYFLY_RUN:-/run/mayfly}/power"
case "${0##*/}" in
  shutdown) when="+1" ;;
  *) when="now" ;;
esac
for word in "$@"; do
  case "$word" in
    -c) echo cancel >"$power"; exit 0 ;;
    -r | --reboot) echo "shutdown: this instance cannot be restarted" >&2; exit 1 ;;
    -k | --help) exit 0 ;;
    -*) ;;
    now | +[0-9]* | [0-9] | [0-9][0-9]* ) when="$word"; break ;;
    *) break ;;
  esac
done
case "$when" in
  now) seconds=0 ;;
  *:*)
    at=$(date -d "$when" +%s) || exit 1
    seconds=$((at - $(date +%s)))
    [ "$seconds" -ge 0 ] || seconds=$((seconds + 86400))
    ;;
  *)
    minutes="${when#+}"
    case "$minutes" in *[!0-9]*) echo "shutdown: no such time: $when" >&2; exit 1 ;; esac
    seconds=$((minutes * 60))
    ;;
esac
echo "halt $seconds" >"$power"

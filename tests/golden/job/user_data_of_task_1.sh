#!/bin/bash
# Mayfly's bootstrap: fetches the agent, checks it, runs it, and shuts the machine down whatever happens.
# The values below are numbers and base64: nothing that a user wrote is read by this shell.
deadline=1795352400
silence_s=3600
agent_url=aHR0cDovLzEyNy4wLjAuMTo0NTY2L2RlbW8tcGxhdGZvcm0vYWdlbnQveC5weXo/WC1BbXotU2lnbmF0dXJlPWElMjBiJmM9J2Qn
agent_sha256=abababababababababababababababababababababababababababababababab
manifest=eyJhbmFseXNpcyI6InBjYSIsImNoZWNrcG9pbnQiOiJsYWIxL3Jlc3VsdHMvam9iX19kZW1vLXBjYV90MC9sb2dzL2NoZWNrcG9pbnQvMS8iLCJjb21tYW5kIjpbInZlbnYvYmluL3B5dGhvbiIsImZpbGVzL3J1bi5weSJdLCJjb25maWciOnsiYnVja2V0IjoiZGVtby1wY2EiLCJrZXkiOiJsYWIxL2NvbmZpZ3MvYy55YW1sIn0sImRlYWRsaW5lIjoiMjAyNi0xMS0yMlQxMzowMDowMFoiLCJncm91cCI6ImxhYjEiLCJoZWFydGJlYXRfcyI6MiwiaWFlIjoiZDEiLCJpbWFnZV9yb290IjoiL29wdC9pYWUiLCJpbnB1dCI6eyJidWNrZXQiOiJkZW1vLXBjYSIsImtleSI6ImxhYjEvaW5wdXRzL2IubnB5IiwidmVyc2lvbiI6ImUxIn0sImpvYiI6InBjYS0wMDAwMDAwMDAwMDAiLCJrZWVwX2ZhaWxlZF9zIjowLCJsb2dfbGltaXRfYnl0ZXMiOjEwMDAwMDAsInBhcmFtZXRlcnMiOnsiZGVlcCI6eyJsaXN0IjpbMSwyLjUsbnVsbCwieCJdfSwibl9jb21wb25lbnRzIjoyfSwicGxhdGZvcm0iOiJsYWIxL3Jlc3VsdHMvam9iX19kZW1vLXBjYV90MC9sb2dzL3BsYXRmb3JtLmpzb24iLCJyZWdpb24iOiJ1cy1lYXN0LTEiLCJyZXN1bHRfbGltaXRfYnl0ZXMiOjEwMDAwMDAwMDAsInJlc3VsdHMiOnsiYnVja2V0IjoiZGVtby1wY2EiLCJmb2xkZXIiOiJsYWIxL3Jlc3VsdHMvam9iX19kZW1vLXBjYV90MC9wcm9jZXNzX3Jlc3VsdHMvYi5ucHkvIiwibGl2ZSI6ImxhYjEvcmVzdWx0cy9qb2JfX2RlbW8tcGNhX3QwL2xvZ3MvbGl2ZS8xLyIsImxvZyI6ImxhYjEvcmVzdWx0cy9qb2JfX2RlbW8tcGNhX3QwL2xvZ3MvdGFzay0xLmxvZyIsInJlcG9ydCI6ImxhYjEvcmVzdWx0cy9qb2JfX2RlbW8tcGNhX3QwL2xvZ3MvdGFzay0xLmpzb24iLCJzdGF0dXMiOiJsYWIxL3Jlc3VsdHMvam9iX19kZW1vLXBjYV90MC9sb2dzL0RBVEFTRVRfTkFNRTpiLm5weV9TVEFUVVMudHh0In0sInJ1biI6MCwic2lsZW5jZV9zIjozNjAwLCJ0YXNrIjoxLCJ0aW1lX2xpbWl0X3MiOjM2MDAsInZlcnNpb24iOjF9

set -u
umask 077
export PATH="${PATH:-/usr/bin:/bin}:/usr/sbin:/sbin"

stop_machine() { # the machine was made to terminate when it shuts down
  echo "mayfly: $1; shutting down"
  until shutdown -h now || poweroff; do sleep 5; done
}

work="$(mktemp -d "${TMPDIR:-/tmp}/mayfly.XXXXXXXX")" || { stop_machine 'there is no room for the agent'; exit 1; }
# Seconds since boot: unlike the time of day they never jump.
uptime_s() { { read -r up _ < /proc/uptime && echo "${up%%.*}"; } 2> /dev/null || date +%s; }
uptime_s > "$work/heard" # the agent writes it anew whenever the platform gives a sign of life
# Seconds until the deadline: the later one that the agent writes down when the job is granted more time.
left_s() {
  read -r later 2> /dev/null < "$work/deadline" && [ "$later" -gt "$deadline" ] 2> /dev/null || later="$deadline"
  echo $((later - $(date +%s)))
}

# The deadman: this machine ends at its deadline, or when the platform is silent for too long, even if everything else
# died or hangs.
(
  trap '' HUP INT TERM
  while left=$(left_s) && [ "$left" -gt 0 ]; do
    read -r heard < "$work/heard" || heard="$(uptime_s)"
    [ $(($(uptime_s) - heard)) -lt "$silence_s" ] || stop_machine "the platform was silent for $silence_s seconds"
    sleep $((left < 15 ? left : 15)) # in short steps: a clock that is set while we sleep must not matter
  done
  stop_machine 'the deadline has passed'
) &
left="$(left_s)"
if [ -d /run/systemd/system ] && [ "$left" -gt 0 ]; then # a second timer, which lives outside of this process tree
  systemd-run --quiet --unit=mayfly-deadman --timer-property=AccuracySec=1s --on-active="$left" --on-unit-inactive=15 \
    bash -c 'read -r later 2> /dev/null < "$1" && [ "$later" -gt "$(date +%s)" ] 2> /dev/null || shutdown -h now' \
    deadman "$work/deadline" || true
fi

# Isolated (-I) and without the packages of this image (-S): the agent carries all it needs, and nothing else may matter.
# It runs in the Python that fetched it, because to start another one takes a quarter of its time to get to work.
no_agent=93
export AGENT_URL="$agent_url" AGENT_SHA256="$agent_sha256" MANIFEST="$manifest" NO_AGENT="$no_agent" MAYFLY_TIMER="$work"
python3 -I -S - "$work/agent.pyz" --manifest "$work/manifest.json" <<'PYTHON'
import base64, hashlib, http.client, os, pathlib, runpy, sys, time, urllib.request

sys.argv.pop(0)  # what is left is the agent's own command line
url, sha256, manifest, no_agent = (os.environ.pop(n) for n in ("AGENT_URL", "AGENT_SHA256", "MANIFEST", "NO_AGENT"))
url = base64.b64decode(url).decode()
pathlib.Path(sys.argv[2]).write_bytes(base64.b64decode(manifest))


def give_up(words):
    print("mayfly: " + words, flush=True)
    sys.exit(int(no_agent))


for wait in (0.25, 0.5, 1, 2, 4, 8, None):
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            agent = answer.read()
        break
    except (OSError, http.client.HTTPException) as error:  # it says no URL: that one is signed
        if wait is None:
            give_up(f"the agent cannot be fetched: {error}")
        print(f"mayfly: the agent cannot be fetched yet: {error}", flush=True)
        time.sleep(wait)
found = hashlib.sha256(agent).hexdigest()
if found != sha256:
    give_up(f"the agent that came is not the one that was meant: its SHA-256 is {found}")
pathlib.Path(sys.argv[0]).write_bytes(agent)
del agent
runpy.run_path(sys.argv[0], run_name="__main__")
PYTHON
ended=$?
case "$ended" in
  "$no_agent" | 126 | 127) stop_machine "the agent could not be fetched (status $ended)" ;;
  *) stop_machine "the agent ended with status $ended" ;;
esac

# Runs a program for as long as standard input is open, then kills it and
# removes a directory: guard.sh DIR LOG PROGRAM ARGUMENT…
# A line on standard input kills the program, and starts it again if it says
# `start`; LOG.done tells when that happened.
#
# The other end of standard input belongs to a test. However that test ends,
# the system closes it.
dir=$1 log=$2
shift 2
# A signal for the whole group must not end this shell before the program.
trap '' INT TERM HUP QUIT
"$@" </dev/null >"$log" 2>&1 &
program=$!
echo "$program"
exec >/dev/null 2>&1
end() {
  [ -z "$program" ] && return
  kill -KILL "$program"
  wait "$program"
  program=
}
while read -r wish; do
  end
  if [ "$wish" = start ]; then
    "$@" </dev/null >>"$log" 2>&1 &
    program=$!
  fi
  : >"$log.done"
done
end
rm -rf "$dir"

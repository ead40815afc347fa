# The node's side of an allocation, as "one confined home": for nodes where the platform is not
# root, so that every allocation is a home, keys and processes of the one account that sshd runs as.
#
# Sent whole over SSH to `sh -s`, followed by one call; each answers one line of JSON per allocation:
#
#   berth_create <allocation id> <node name> <gpu indexes> <<'KEYS'
#   ssh-ed25519 AAAA…
#   KEYS
#   berth_verify <allocation id>
#   berth_clean <allocation id>
#   berth_list
#
# Exit status: 0 done, 64 malformed request, 75 another call holds the lock (retry), 1 failed (retry).
# Every call may be repeated, and repeated after being cut off anywhere.
#
# Where sshd reads: $BERTH_NODE_DIR/authorized_keys and authorized_principals when sshd sets that
# variable; else ~/.ssh/ of the account, with everything of ours in ~/.berth.
#
# What it cannot do: allocations share one account, so they are not protected from each other, and
# a process that sheds its environment, session, parent, working directory and open files outlives
# clean. Such a node serves one organization at a time.

# Each call is a subshell: it may exit, and leaves nothing behind in the shell that reads this.
berth_create() (
  berth_begin "$1"
  node_name=$2
  gpus=$3
  case $node_name in '' | *[!a-z0-9.-]* | [!a-z0-9]*) fail 'malformed node name' 64 ;; esac
  case $gpus in '' | *[!0-9,]* | ,* | *, | *,,*) fail 'malformed GPU indexes' 64 ;; esac
  new_keys=$(key_lines) || exit
  lock
  mkdir -p "$home/.tmp"
  [ -e "$home/.profile" ] || profile >"$home/.profile"
  rewrite "$root/session" 700 session
  rewrite "$allocation" 600 printf 'gpus=%s\n' "$gpus"
  rewrite "$keys" 600 with_keys
  rewrite "$principals" 600 with_principal
  report
)

berth_verify() (
  berth_begin "$1"
  report
)

berth_clean() (
  berth_begin "$1"
  lock
  # First nobody enters any more, then those within are ended, then the home goes.
  rewrite "$keys" 600 without_keys
  rewrite "$principals" 600 without_principal
  rm -f "$allocation"
  end_processes
  if [ -L "$home" ]; then
    rm -f "$home"
  elif [ -d "$home" ]; then
    chmod -R u+rwX "$home" 2>/dev/null || :
    rm -rf "$home"
  fi
  end_processes
  report
)

berth_list() (
  set -eu
  id=
  berth_where
  for home in "$root"/homes/alc_* "$root"/allocations/alc_*; do
    case ${home##*/} in *'*' | *.new) ;; *) printf '%s\n' "${home##*/}" ;; esac
  done | sort -u | while IFS= read -r found; do
    (berth_begin "$found" && report)
  done
)

berth_begin() {
  set -eu
  umask 077
  LC_ALL=C
  export LC_ALL
  id=$1
  case $id in alc_??????????????????????????) ;; *) fail 'malformed allocation id' 64 ;; esac
  case ${id#alc_} in *[!0-9a-z]*) fail 'malformed allocation id' 64 ;; esac
  berth_where
}

berth_where() {
  root=${BERTH_NODE_DIR:-"$HOME/.berth"}
  # It stands in files whose lines sshd splits, quoted in both ways.
  case $root in [!/]* | *[]\"\'\\%*?[]*) fail 'the node directory has an unusable path' ;; esac
  files=${BERTH_NODE_DIR:-"$HOME/.ssh"}
  keys=$files/authorized_keys
  principals=$files/authorized_principals
  home=$root/homes/$id
  allocation=$root/allocations/$id
  # The marker is in the environment of all that a session starts, from its first program on.
  start="BERTH_ALLOCATION=$id exec '$root/session'"
  options="restrict,pty,command=\"$start\""
  mkdir -p "$root/homes" "$root/allocations" "$files"
}

fail() {
  printf '%s\n' "$1" >&2
  exit "${2:-1}"
}

# Of calls at the same time one works. flock is freed by the system when its holder dies.
lock() {
  if command -v flock >/dev/null 2>&1; then
    exec 9>"$root/lock"
    flock -w 30 9 || fail 'another call holds the lock' 75
    return
  fi
  tries=0
  until mkdir "$root/lock.held" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -le 300 ] || fail 'another call holds the lock' 75
    # Looked at again under a second lock: between look and removal another may have taken it.
    if is_abandoned && mkdir "$root/lock.steal" 2>/dev/null; then
      ! is_abandoned || rm -rf "$root/lock.held"
      rmdir "$root/lock.steal"
    fi
    sleep 0.1
  done
  trap 'rm -rf "$root/lock.held"' EXIT
  sh -c 'echo "$PPID"' >"$root/lock.held/pid"
}

is_abandoned() {
  holder=$(cat "$root/lock.held/pid" 2>/dev/null) && [ -n "$holder" ] && ! kill -0 "$holder" 2>/dev/null
}

# rewrite <file> <mode> <command…>: its output becomes the file. Readers see the old one or the new
# one, whole; when the command fails the old one stays.
rewrite() {
  file=$1
  mode=$2
  shift 2
  "$@" >"$file.new" && chmod "$mode" "$file.new" && mv -f "$file.new" "$file" ||
    fail "cannot write $file"
}

# One authorized_keys line per public key on stdin, or the call is refused.
key_lines() {
  while IFS= read -r key || [ -n "$key" ]; do
    [ -n "$key" ] || continue
    printf '%s' "$key" | grep -Eqx '(ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}' ||
      fail 'malformed public key' 64
    printf '%s %s berth:%s\n' "$options" "$key" "$id"
  done
}

with_keys() {
  without_keys && { [ -z "$new_keys" ] || printf '%s\n' "$new_keys"; }
}

with_principal() {
  without_principal && printf '%s %s@%s\n' "$options" "$id" "$node_name"
}

without_keys() {
  [ ! -e "$keys" ] || awk -v mark="berth:$id" 'NF && $NF != mark' "$keys"
}

without_principal() {
  [ ! -e "$principals" ] || awk -v mark="$id@" 'NF && index($NF, mark) != 1' "$principals"
}

count() {
  if [ -e "$1" ]; then awk "$2" mark="$3" "$1" | wc -l | tr -d ' '; else echo 0; fi
}

report() {
  key_count=$(count "$keys" '$NF == mark' "berth:$id")
  principal_count=$(count "$principals" 'index($NF, mark) == 1' "$id@")
  process_count=$(processes | wc -l | tr -d ' ')
  gpus=$(sed -n 's/^gpus=//p' "$allocation" 2>/dev/null || :)
  state=partial
  if [ -d "$home" ] && [ -n "$gpus" ] && [ "$principal_count" = 1 ]; then state=present; fi
  if [ ! -e "$home" ] && [ ! -e "$allocation" ] &&
    [ "$key_count$principal_count$process_count" = 000 ]; then state=absent; fi
  printf '{"allocationId":"%s","state":"%s","gpus":[%s],"keys":%s,"processes":%s}\n' \
    "$id" "$state" "$gpus" "$key_count" "$process_count"
}

# What sshd starts for each session, in place of what the client asked for.
session() {
  cat <<'SESSION'
#!/bin/sh
id=$BERTH_ALLOCATION
root=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
HOME=$root/homes/$id
gpus=$(sed -n 's/^gpus=//p' "$root/allocations/$id" 2>/dev/null)
if [ -z "$gpus" ] || ! cd "$HOME" 2>/dev/null; then
  echo 'This allocation has ended.' >&2
  exit 1
fi
TMPDIR=$HOME/.tmp
CUDA_DEVICE_ORDER=PCI_BUS_ID
CUDA_VISIBLE_DEVICES=$gpus
asked=${SSH_ORIGINAL_COMMAND:-}
unset BERTH_NODE_DIR SSH_ORIGINAL_COMMAND
export HOME TMPDIR CUDA_DEVICE_ORDER CUDA_VISIBLE_DEVICES BERTH_ALLOCATION
umask 022
shell=${SHELL:-/bin/sh}
if [ "$shell" = /bin/sh ] && command -v bash >/dev/null 2>&1; then shell=$(command -v bash); fi
SHELL=$shell
export SHELL
if [ -n "$asked" ]; then exec "$shell" -c "$asked"; fi
exec "$shell" -l
SESSION
}

# A login shell sets its own PATH, which may lack the driver's tools.
profile() {
  tool=$(command -v nvidia-smi) || return 0
  case $tool in /usr/bin/* | /bin/*) ;; /*) printf 'PATH="%s:$PATH"\n' "${tool%/*}" ;; esac
}

# Asked to end, then made to.
end_processes() {
  for name in HUP TERM; do
    for pid in $(processes); do kill -s "$name" "$pid" 2>/dev/null || :; done
  done
  tries=0
  while left=$(processes) && [ -n "$left" ]; do
    tries=$((tries + 1))
    [ "$tries" -le 60 ] || fail 'processes do not end'
    if [ "$tries" -gt 10 ]; then
      for pid in $left; do kill -s KILL "$pid" 2>/dev/null || :; done
    fi
    sleep 0.1
  done
}

# Ids of the allocation's processes: marked, or of a marked one's session; at work in its home; or
# descended from one of these.
processes() {
  if [ -r /proc/self/stat ]; then processes_linux; else processes_bsd; fi
}

processes_linux() {
  {
    {
      grep -lzxF -e "BERTH_ALLOCATION=$id" /proc/[0-9]*/environ
      grep -lzxF -e "$start" /proc/[0-9]*/cmdline
    } | sed 's/^/marked /'
    find /proc/[0-9]*/cwd /proc/[0-9]*/exe /proc/[0-9]*/fd \
      \( -lname "$home" -o -lname "$home/*" \) -print | sed 's/^/inside /'
  } 2>/dev/null </dev/null | sed -n 's|^\([a-z]*\) /proc/\([0-9]*\)/.*|\1 \2|p' |
    {
      cat
      # pid (name) state parent group session …: a name may hold anything.
      cat /proc/[0-9]*/stat 2>/dev/null |
        sed -n 's/^\([0-9]*\) (.*) \([A-Z]\) \([0-9]*\) [0-9]* \([0-9]*\) .*/process \1 \2 \3 \4/p'
    } | awk '
      $1 != "process" { of[$2] = 1 }
      $1 == "marked" { marked[$2] = 1 }
      $1 == "process" && $3 != "Z" { alive[$2] = 1; parent[$2] = $4; session[$2] = $5 }
      END {
        for (pid in marked) if (pid in alive && session[pid] > 1) sessions[session[pid]] = 1
        for (pid in alive) if (session[pid] in sessions) of[pid] = 1
        do {
          grown = 0
          for (pid in alive) if (!(pid in of) && parent[pid] in of) { of[pid] = 1; grown = 1 }
        } while (grown)
        for (pid in of) if (pid in alive) print pid
      }'
}

processes_bsd() {
  {
    ps -A -E -ww -o pid=,command= | awk -v mark="BERTH_ALLOCATION=$id" \
      '{ for (i = 2; i <= NF; i++) if ($i == mark) { print $1; break } }'
    lsof -t +D "$home" || :
  } 2>/dev/null </dev/null | sort -u
}

#!/bin/bash
# Drives `contree-mcp shell tag:host` in tmux: editing, Ctrl-C, Ctrl-Z, resizing, exit statuses, and
# a program that is killed. Afterwards the terminal is as it was.
#
# usage: shell.sh PATH_OF_CONTREE_MCP
set -euo pipefail

program=$(realpath "$1")
scratch=$(mktemp -d)
socket=contree-shell-$$
export CONTREE_DATA_DIR=$scratch/data CONTREE_STATE_DIR=$scratch/state
tmux() { command tmux -L "$socket" -f /dev/null "$@"; }
clean_up() {
    tmux kill-server 2>/dev/null || true
    # The engine ends with its program, and then removes its sandboxes.
    for _ in $(seq 100); do
        pgrep -u "$(id -u)" -f "^$program shell" >/dev/null || break
        sleep 0.1
    done
    chmod -R u+rwX "$scratch" 2>/dev/null || true
    rm -rf "$scratch"
}
trap clean_up EXIT

shown() { tmux capture-pane -p; }
# wait_for TEXT: waits until the screen has a line with it.
wait_for() {
    for _ in $(seq 600); do
        if shown | grep -qF -- "$1"; then return; fi
        sleep 0.1
    done
    echo "shell.sh: \`$1\` did not come; the screen has:" >&2
    shown >&2
    return 1
}
type_line() { tmux send-keys -l -- "$1"; tmux send-keys Enter; }
start_shell() {
    tmux clear-history
    type_line "clear; $program shell tag:host"
    wait_for 'bash-'
    type_line "PS1='inside> '; clear"
    wait_for 'inside>'
}
# The settings of the terminal, as the shell outside sees them.
settings() {
    type_line "clear; stty -g > $scratch/settings.new; echo settings-\$?-read"
    wait_for settings-0-read
    cat "$scratch/settings.new"
}
status() {
    type_line "echo the-status-is-\$?"
    wait_for "the-status-is-$1"
}
process() { pgrep -u "$(id -u)" -f "^$program shell" | head -1; }
modes() { tmux display-message -p '#{alternate_on} #{cursor_flag} #{mouse_any_flag}'; }

tmux new-session -d -x 100 -y 30 "env PS1='outside> ' bash --norc --noprofile"
wait_for 'outside>'
before=$(settings)
modes_before=$(modes)

start_shell
type_line 'stty size; tty'
wait_for '30 100'
wait_for '/dev/pts/0'
tmux send-keys -l -- 'abc'
tmux send-keys Left Left
tmux send-keys -l -- 'X'
tmux send-keys BSpace Home
tmux send-keys -l -- 'echo ed-'
tmux send-keys End
tmux send-keys -l -- '-it'
tmux send-keys Enter
wait_for 'ed-abc-it'
echo '  keys edit the line'

type_line 'sleep 600; echo sl''ept-$?'
sleep 1
tmux send-keys C-c
wait_for 'slept-130' 2>/dev/null || { type_line 'echo sl''ept-$?'; wait_for 'slept-130'; }
type_line 'sleep 601'
sleep 1
tmux send-keys C-z
wait_for 'Stopped'
type_line 'kill %1; wait; echo aft''er-stop'
wait_for 'after-stop'
type_line 'yes'
sleep 1
tmux send-keys C-c
type_line 'clear; echo aft''er-yes'
wait_for 'after-yes'
echo '  Ctrl-C interrupts, and Ctrl-Z stops'

tmux resize-window -x 120 -y 40
type_line 'clear; sleep 0.5; stty size'
wait_for '40 120'
echo '  a new size arrives'

type_line 'exit 3'
wait_for 'outside>'
status 3
[ "$(settings)" = "$before" ]
echo '  the exit status is that of the shell, and the terminal is as before'

for signal in TERM HUP INT QUIT KILL; do
    start_shell
    type_line "printf '\\033[?1049h\\033[?25l\\033[?1000h'; sleep 600"
    sleep 1
    kill -s "$signal" "$(process)"
    if [ "$signal" = KILL ]; then
        # The shell outside restores the settings, and nobody the modes.
        type_line "printf '\\033[?1000l\\033[?25h\\033[?1049l'"
    fi
    wait_for 'outside>'
    [ "$signal" = KILL ] || status "$((128 + $(kill -l "$signal")))"
    [ "$(settings)" = "$before" ] || { echo "shell.sh: after $signal the settings differ" >&2; exit 1; }
    [ "$(modes)" = "$modes_before" ] || { echo "shell.sh: after $signal the modes are $(modes)" >&2; exit 1; }
done
echo '  the terminal is as before after each signal'

start_shell
kill -s TSTP "$(process)"
wait_for 'Stopped'
[ "$(settings)" = "$before" ]
type_line 'fg'
sleep 1
type_line 'clear; echo con''tinued'
wait_for 'continued'
type_line 'exit'
wait_for 'outside>'
status 0
echo '  a stopped program leaves the terminal to the shell outside, and goes on'

if "$program" shell </dev/null >/dev/null 2>"$scratch/error"; then exit 1; fi
grep -q 'must be a terminal' "$scratch/error"
echo '  without a terminal, an error says what to do'

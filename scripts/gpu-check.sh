#!/usr/bin/env bash
# Checks on a machine with an NVIDIA GPU what no other machine can, and prints one report: what runs where, parity with the CPU, tokens
# chosen on the GPU, saved conversations, rates, memory, Ctrl-C. Exit code 0 where all holds, 1 where something does not, 2 where there is no GPU.
#
#   scripts/gpu-check.sh [MODEL...]     models beside the embedded one: aliases, owner/name or folders that are here
#
# GPU_CHECK_PROVIDER=cpu rehearses the script itself on a machine without one; SHAMMAH_CUDA_LIB names NVIDIA's libraries.
set -uo pipefail
cd "$(dirname "$0")/.."

provider=${GPU_CHECK_PROVIDER:-cuda}
tolerance=0.01 # of the perplexity, against the CPU with float32 activations
text=scripts/accuracy/text.txt
failures=0

if [ "$provider" = cuda ] && ! nvidia-smi -L > /dev/null 2>&1; then
  echo "gpu-check: no NVIDIA GPU here (nvidia-smi -L finds none): nothing was checked" >&2
  exit 2
fi

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

say() { printf '%-12s %s\n' "$1" "$2"; }
verdict() { # ok|wrong name text
  [ "$1" = ok ] || failures=$((failures + 1))
  say "$2" "$3: $1"
}

if ! make TAG="$provider" > "$work/build" 2>&1; then
  tail -5 "$work/build" >&2
  echo "gpu-check: make $provider failed" >&2
  exit 1
fi
program=$PWD/build/bin/shammah-engine

say commit "$(git describe --always --dirty 2> /dev/null)"
say program "$("$program" version)"
[ "$provider" = cuda ] && nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | while read -r gpu; do say gpu "$gpu"; done

echo
if "$program" doctor --provider "$provider" > "$work/doctor"; then verdict ok doctor "every provider that was asked for"; else verdict wrong doctor "every provider that was asked for"; fi
cat "$work/doctor"

field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$1" "$2"; }

for model in tiny "$@"; do
  echo
  say model "$model"
  "$program" show "$model" --placement --provider "$provider" --force 2> "$work/log" | sed -n 's/^placement  */placement    /p'

  # Parity: the same text foretold by both, and the same first tokens.
  if "$program" perplexity "$text" -m "$model" --provider cpu --exact --json > "$work/cpu" 2> "$work/log" &&
    "$program" perplexity "$text" -m "$model" --provider "$provider" --json > "$work/gpu" 2> "$work/log"; then
    if python3 -c 'import sys; a, b, t = map(float, sys.argv[1:]); sys.exit(not abs(a - b) <= t * a)' "$(field "$work/cpu" perplexity)" "$(field "$work/gpu" perplexity)" "$tolerance"; then
      same=ok
    else
      same=wrong
    fi
    verdict $same perplexity "$(field "$work/gpu" perplexity), on the CPU $(field "$work/cpu" perplexity), at most $tolerance apart"
  else
    verdict wrong perplexity "$(tail -1 "$work/log")"
  fi
  for where in cpu "$provider"; do
    "$program" run -m "$model" --provider "$where" --temperature 0 -n 32 "What is the capital of France?" > "$work/answer.$where" 2> "$work/log" || verdict wrong "run on $where" "$(tail -1 "$work/log")"
  done
  if [ ! -s "$work/answer.cpu" ] || [ ! -s "$work/answer.$provider" ]; then same="not compared"
  elif cmp -s "$work/answer.cpu" "$work/answer.$provider"; then same=ok; else same="differ (rounding may, in a large model)"; fi
  say answers "32 tokens of both: $same"
  [ "$model" = tiny ] && [ "$same" != ok ] && failures=$((failures + 1))

  # Tokens chosen on the GPU: a penalty too small to change a logit makes every step copy its whole row of logits, as all did before.
  for how in 0 1e-30; do
    "$program" run -m "$model" --provider "$provider" --temperature 0 --repetition-penalty 1 --presence-penalty "$how" --speculate off --ignore-eos -n 128 --json "Tell me a story." > "$work/rows.$how" 2> "$work/log" || verdict wrong "choice" "$(tail -1 "$work/log")"
  done
  if [ -s "$work/rows.0" ] && [ -s "$work/rows.1e-30" ]; then
    same=wrong
    [ "$(field "$work/rows.0" text)" = "$(field "$work/rows.1e-30" text)" ] && same=ok
    verdict $same choice "128 tokens chosen where the logits are, and from whole rows; $(field "$work/rows.0" decode_tokens_per_second) and $(field "$work/rows.1e-30" decode_tokens_per_second) tokens/s"
  fi
  # CUDA graphs: the same text as without, and both rates.
  if [ "$provider" = cuda ]; then
    for how in off on; do
      "$program" run -v -m "$model" --provider cuda --provider-option "graph=$how" --temperature 0 --repetition-penalty 1 --speculate off --ignore-eos -n 256 --json "Tell me a story." > "$work/graph.$how" 2> "$work/graph.log" || verdict wrong graph "$(tail -1 "$work/graph.log")"
    done
    if [ -s "$work/graph.off" ] && [ -s "$work/graph.on" ]; then
      same=wrong
      [ "$(field "$work/graph.off" text)" = "$(field "$work/graph.on" text)" ] && same=ok
      verdict $same graph "256 tokens without a CUDA graph and with one; $(field "$work/graph.off" decode_tokens_per_second) and $(field "$work/graph.on" decode_tokens_per_second) tokens/s"
      say graph "$(grep -m 1 -E 'steps are (replayed|not recorded|no longer replayed)' "$work/graph.log" || echo 'nothing says whether it was used')"
    fi
  fi
  for how in "--temperature 0.7 --top-k 40 --top-p 1" "--temperature 0.7 --top-k 0 --top-p 0.9"; do
    for where in cpu "$provider"; do # shellcheck disable=SC2086
      "$program" run -m "$model" --provider "$where" $how --seed 1 -n 32 "Tell me a story." > "$work/sampled.$where" 2> "$work/log" || verdict wrong "sampling" "$(tail -1 "$work/log")"
    done
    if cmp -s "$work/sampled.cpu" "$work/sampled.$provider"; then same="the same as on the CPU"; else same="others than on the CPU (rounding does that)"; fi
    say sampling "32 tokens with $how: $same"
  done

  # A conversation whose cache was saved from the GPU's memory, and goes back there.
  rm -f "$work/session"
  for question in "My name is Ada." "What is my name?"; do
    "$program" run -m "$model" --provider "$provider" --temperature 0 -n 16 --session "$work/session" --json "$question" > "$work/turn" 2> "$work/log" || verdict wrong session "$(tail -1 "$work/log")"
  done
  same=wrong
  [ -s "$work/turn" ] && [ "$(field "$work/turn" reused_tokens)" -gt 0 ] && same=ok
  verdict $same session "taken up with $(field "$work/turn" reused_tokens) tokens that were not computed again"

  # Rates, and the memory of the GPU meanwhile.
  if [ "$provider" = cuda ]; then
    nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits -lms 200 > "$work/memory" &
    watcher=$!
  fi
  for where in cpu "$provider"; do
    "$program" bench -m "$model" --provider "$where" -p 128 -n 64 -b 1 -b 4 -r 3 2> "$work/log" || verdict wrong bench "$(tail -1 "$work/log")"
  done
  if [ "$provider" = cuda ]; then
    kill "$watcher" 2> /dev/null
    say memory "of the GPU: $(sort -n "$work/memory" | head -1) MiB before, $(sort -n "$work/memory" | tail -1) MiB at most"
  fi
done

# Ctrl-C: CUDA's handlers must not have taken it. Python gives the child its default back, which a shell takes from background jobs.
echo
python3 - "$program" "$provider" << 'END'
import signal, subprocess, sys
child = subprocess.Popen([sys.argv[1], "run", "--provider", sys.argv[2], "--ignore-eos", "--overflow", "shift", "Tell me a story."], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
child.stdout.read(32)  # it is writing
child.send_signal(signal.SIGINT)
try:
    child.communicate(timeout=10)
except subprocess.TimeoutExpired:
    child.kill()
sys.exit(child.returncode != 130)
END
if [ $? = 0 ]; then verdict ok "Ctrl-C" "ends an answer with code 130"; else verdict wrong "Ctrl-C" "ends an answer with code 130"; fi

echo
say result "$failures failed"
[ "$failures" = 0 ]

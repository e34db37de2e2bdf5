#!/usr/bin/env bash
# What is to be known of a GPU, in one call of at most nine minutes on a machine that has one.
#
#     benches/card.sh --build           (make card-kit) builds .card here: the timer and the tests, stripped, at most 64 MiB
#     OUT=results benches/card.sh       runs them there; needs the driver, NVIDIA's libraries (PyTorch's wheels bring them),
#                                       python3, and for the comparison torch, transformers and peft
#     benches/card.sh --dry-run         the parts with their limits and commands
#
# The parts come in the order of their worth, each with a limit of its own in seconds, so that one that hangs costs its own time
# alone. After each of them OUT has the lines so far (card.jsonl), a table (card.md) and what was said (card.log). The status is 0
# where all parts passed, 1 otherwise.
#
# KIT names another folder than .card, CARD_LIMIT another time for all parts, CARD_SECONDS another one for each, CARD_PARTS the parts
# to run ("correct profile8"), CARD_PYTHON the Python that has torch.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
KIT=${KIT:-.card}
OUT=${OUT:-target/card}
LIMIT=${CARD_LIMIT:-540}
PYTHON=${CARD_PYTHON:-python3}
REPORT="benches/card_report.py"
STEP="$KIT/step"
TESTS="$KIT/tests"
WEIGHTS="${TMPDIR:-/tmp}/pitchquest-card-weights"
MOST_MIB=64

# Builds what the machine with the GPU needs; nothing of CUDA is there when it is built.
build() {
  local cargo=${CARGO:-cargo} tests size
  mkdir -p "$KIT"
  "$cargo" build --release -p vlm-lora --example step --features cuda || return 1
  tests=$("$cargo" test --release -p vlm-lora --features cuda --lib --no-run --message-format=json |
    "$PYTHON" "$REPORT" executable) || return 1
  cp "${CARGO_TARGET_DIR:-target}/release/examples/step" "$STEP" && cp "$tests" "$TESTS" || return 1
  strip "$STEP" "$TESTS" || return 1
  size=$(du -cm "$STEP" "$TESTS" | tail -1 | cut -f1)
  echo "$KIT holds $size MiB: bring it and this tree to the GPU, and run OUT=results benches/card.sh"
  [ "$size" -le "$MOST_MIB" ]
}
if [ "${1:-}" = --build ]; then
  build
  exit
fi
is_dry=0
if [ "${1:-}" = --dry-run ]; then is_dry=1; fi

device=(--device cuda --dtype bfloat16 --edge 2048 --model "$WEIGHTS")
tests=("$TESTS" --ignored --nocapture --test-threads=1)
of_kernels=a_real_device_agrees_with_f64

sanitizer=$(command -v compute-sanitizer || find /usr/local/cuda*/bin -name compute-sanitizer -print -quit 2>/dev/null || true)

# Two runs of a few steps from the same weights must have the same losses and gradients, to the bit.
# shellcheck disable=SC2329 # a part names it
repeated() {
  "$STEP" "${device[@]}" --batch 2 --steps 3 >"$OUT/once.json" || return 1
  "$STEP" "${device[@]}" --batch 2 --steps 3 >"$OUT/again.json" || return 1
  "$PYTHON" "$REPORT" same "$OUT/once.json" "$OUT/again.json"
}

# shellcheck disable=SC2329 # a part names it
machine() {
  nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total,clocks.max.sm --format=csv
  ldd --version | head -1
  "$PYTHON" -c 'import torch, transformers; print("torch", torch.__version__, "transformers", transformers.__version__)' || true
  find / -xdev \( -name 'libcudnn.so.*' -o -name 'libnvrtc.so.*' -o -name 'libcublasLt.so.*' \) 2>/dev/null | head -20
}

# name, seconds, command
parts=(
  "machine|10|machine"
  "correct|45|${tests[*]} $of_kernels a_real_device_takes a_step_on_a_real_device"
  "weights|20|$STEP --write $WEIGHTS"
  "step8|25|$STEP ${device[*]} --batch 8 --steps 8"
  "profile8|25|$STEP ${device[*]} --batch 8 --steps 5 --profile"
  "peer|95|$PYTHON benches/peer/run.py --device cuda --python $PYTHON --step $STEP --weights $WEIGHTS --rounds 1 --steps 6 --log $OUT/peer.jsonl --only bf16-2048-batch8,bf16-2048-batch8-score"
  "run|60|$STEP ${device[*]} --batch 8 --slides 800 --epochs 3 --cached"
  "released|35|${tests[*]} a_real_device_agrees_at_released_shapes"
  "repeated|25|repeated"
  "turing|25|${tests[*]} a_real_device_runs_the_kernels_of_older_ones"
  "step1|15|$STEP ${device[*]} --batch 1 --steps 8 --cached"
  "profile1|15|$STEP ${device[*]} --batch 1 --steps 8 --cached --profile"
  "score|15|$STEP ${device[*]} --batch 8 --steps 8 --forward-only"
  "memcheck|35|$sanitizer --tool memcheck --error-exitcode 9 ${tests[*]} $of_kernels"
  "racecheck|40|$sanitizer --tool racecheck --error-exitcode 9 ${tests[*]} $of_kernels"
  "synccheck|25|$sanitizer --tool synccheck --error-exitcode 9 ${tests[*]} $of_kernels"
  "initcheck|25|$sanitizer --tool initcheck --error-exitcode 9 ${tests[*]} $of_kernels"
)

wanted() { [ -z "${CARD_PARTS:-}" ] || [[ " $CARD_PARTS " == *" $1 "* ]]; }

if [ "$is_dry" = 1 ]; then
  sum=0
  for part in "${parts[@]}"; do
    IFS='|' read -r name seconds command <<<"$part"
    wanted "$name" || continue
    sum=$((sum + seconds))
    printf '%-10s %4d s  %s\n' "$name" "$seconds" "$command"
  done
  echo "$sum seconds at most, of $LIMIT"
  [ "$sum" -le "$LIMIT" ]
  exit
fi

for needed in "$STEP" "$TESTS"; do
  if [ ! -e "$needed" ]; then
    echo "$needed is not there: make card-kit builds it" >&2
    exit 2
  fi
done
chmod +x "$STEP" "$TESTS"
mkdir -p "$OUT"
rm -f "$OUT/card.jsonl" "$OUT/card.log"
export -f repeated machine
export KIT OUT PYTHON REPORT STEP TESTS WEIGHTS
# An array cannot be exported.
declared=$(declare -p device)
status=0
begun=$SECONDS
for part in "${parts[@]}"; do
  IFS='|' read -r name seconds command <<<"$part"
  wanted "$name" || continue
  seconds=${CARD_SECONDS:-$seconds}
  left=$((LIMIT - (SECONDS - begun)))
  log="$OUT/part.log"
  from=$SECONDS
  if [ "$left" -lt 5 ]; then
    result=skipped
    echo "no time is left" >"$log"
  elif [[ "$command" == " --tool"* ]]; then
    result=skipped
    echo "compute-sanitizer is not found" >"$log"
  else
    [ "$left" -lt "$seconds" ] && seconds=$left
    timeout --kill-after=3 "$seconds" bash -c "$declared; $command" >"$log" 2>&1
    result=$?
  fi
  [ "$result" = 0 ] || status=1
  { echo "=== $name: $result after $((SECONDS - from)) s"; cat "$log"; } | tee -a "$OUT/card.log"
  "$PYTHON" "$REPORT" record "$OUT" "$name" "$result" "$((SECONDS - from))" "$seconds" "$log"
done
rm -rf "$WEIGHTS" "$OUT/part.log"
echo
cat "$OUT/card.md"
exit "$status"

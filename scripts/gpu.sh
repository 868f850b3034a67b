#!/usr/bin/env bash
# On a machine with a GPU, within eight minutes: step times beside their floors, then as many whole rows of CEM's Table 1
# as fit. What it writes lies under OUT (default outputs/gpu); every stage goes on where an earlier call stopped.
set -uo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-outputs/gpu}
PYTHON=${PYTHON:-python}
SECONDS=0 LIMIT=${LIMIT:-480}
mkdir -p "$OUT"
left() { echo $((LIMIT - SECONDS)); }

if [ ! -s "$OUT/gpu.json" ]; then
  timeout 150 "$PYTHON" -m benchmarks.gpu --out "$OUT/gpu.json" || echo "step times: ended early; what was measured is in $OUT/gpu.json"
fi

# Rows in the order that decides claims, four at a time on the device.
for rows in Bottleneck,Bottleneck+CEM Noise_ARL,Noise_ARL+CEM Bottleneck_no_noise,Noise_Nopeek,Noise_Nopeek+CEM; do
  [ "$(left)" -gt 60 ] || break
  timeout "$(left)" "$PYTHON" -m splitpriv table run cem_table1 --scale full --rows "$rows" \
    runtime.device=cuda runtime.precision=bf16 runtime.capture=true runtime.pack=4 paths.outputs="$OUT" \
    || echo "$rows: not finished in this call; run again to go on"
done
"$PYTHON" -m splitpriv table show cem_table1 --scale full paths.outputs="$OUT" || true

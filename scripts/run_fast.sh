#!/usr/bin/env bash
# The rows of scale fast, in the order that decides claims. Each call goes on where the last one stopped; what is done
# costs seconds. One core: SPLITPRIV_DATA=data scripts/run_fast.sh. Two: a second call with SHARE=even beside SHARE=odd.
set -uo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-outputs/fast}
PYTHON=${PYTHON:-python}
SHARE=${SHARE:-all}
n=0
stage() { # ROWS PLAYS SEEDS: of CEM's Table 1
  n=$((n + 1))
  case "$SHARE" in odd) [ $((n % 2)) = 1 ] || return 0 ;; even) [ $((n % 2)) = 0 ] || return 0 ;; esac
  "$PYTHON" -m splitpriv table run cem_table1 --scale fast --rows "$1" --plays "$2" seed="$3" paths.outputs="$OUT" ||
    echo "$1 $2 seed $3: not finished; call again to go on"
}

for seed in 0 1 2; do
  for row in No_defense Bottleneck_no_noise; do [ "$seed" = 0 ] && stage "$row" strict 0; done
  for row in Bottleneck Bottleneck+CEM Noise_ARL Noise_ARL+CEM; do stage "$row" strict "$seed"; done
  for row in Noise_Nopeek Noise_Nopeek+CEM Dropout Dropout+CEM; do [ "$seed" = 0 ] && stage "$row" strict 0; done
  for row in Bottleneck Bottleneck+CEM; do stage "$row" train,infer "$seed"; done
done

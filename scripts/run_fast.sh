#!/usr/bin/env bash
# The rows of scale fast, in the order that decides claims. Each call goes on where the last one stopped; what is done
# costs seconds. One core: SPLITPRIV_DATA=data scripts/run_fast.sh. Two: a second call with SHARE=even beside SHARE=odd.
set -uo pipefail
cd "$(dirname "$0")/.."
OUT=${OUT:-outputs/fast}
PYTHON=${PYTHON:-python}
SHARE=${SHARE:-all}
n=0
stage() { # TABLE SEED [ROWS [PLAYS]]
  n=$((n + 1))
  case "$SHARE" in odd) [ $((n % 2)) = 1 ] || return 0 ;; even) [ $((n % 2)) = 0 ] || return 0 ;; esac
  "$PYTHON" -m splitpriv table run "$1" --scale fast --rows "${3:-}" --plays "${4:-}" seed="$2" paths.outputs="$OUT" ||
    echo "$1 ${3:-} ${4:-} seed $2: not finished; call again to go on"
}

for seed in 0 1 2; do
  [ "$seed" = 0 ] && stage cem_table1 0 No_defense strict
  stage cem_table1 "$seed" Bottleneck_no_noise strict
  for row in Bottleneck Bottleneck+CEM Noise_ARL Noise_ARL+CEM; do stage cem_table1 "$seed" "$row" strict; done
  for row in Noise_Nopeek Noise_Nopeek+CEM Dropout Dropout+CEM; do
    [ "$seed" = 0 ] && stage cem_table1 0 "$row" strict
  done
  for row in Bottleneck Bottleneck+CEM; do stage cem_table1 "$seed" "$row" strict_16; done
  for row in Bottleneck Bottleneck+CEM; do stage cem_table1 "$seed" "$row" train,infer; done
done
for seed in 0 1; do
  for table in he2019_table4 he2019_table3 he2019_table6; do stage "$table" "$seed"; done
done
for seed in 0 1 2; do
  for table in patrol_ablation mid_fig2 cloak_fig2b cloak_fig2c cloak_fig2e; do stage "$table" "$seed"; done
done
for seed in 0 1 2; do
  for table in cloak_fig2a cloak_fig2d cloak_fig3 mid_gmi; do stage "$table" "$seed"; done
  [ "$seed" = 2 ] || stage cloak_fig4 "$seed"
done

#!/bin/bash
# One sweep of 20 nano points by each engine, disturbed on purpose, and whether the rows are equal; docs/cluster.md shows it.
# usage: scripts/engines.sh DIR [serial|joblib|ray|slurm|compare|short ...]; ray needs unshare and root, slurm and short a Slurm.
set -u
D=$(realpath -m "${1:?folder}"); shift; mkdir -p "$D"
export OMP_NUM_THREADS=1 SPLITPRIV_PROGRESS=0
ONE="dataset=gaussian dataset.samples=400 backbone.width=4 split.at=1 protocol=smoke protocol.limit.train=64
 protocol.limit.aux=48 protocol.limit.victims=32 protocol.limit.val=16 protocol.attacked=8 optim.batch=16
 measure.latency_repeats=1 measure.draws=1 attack=[decoder] decoder@attack.decoder.net=conv attack.decoder.net.width=8 attack.decoder.net.widest=8 attack.decoder.epochs=1"
RUN="$ONE optim.epochs=${EPOCHS:-1} defense=[none],[noise],[nopeek],[dropout] seed=0,1,2,3,4"
cli() { echo "\$ splitpriv $*" | tr -s ' \n' ' ' | cut -c1-160; splitpriv "$@" 2>&1 | grep -E "^splitpriv|done|running|waiting|failed|time left|cancelled|cached" ; }

serial() { SPLITPRIV_OUTPUTS=$D/serial cli run -m $RUN; SPLITPRIV_OUTPUTS=$D/serial cli sweep status; }
joblib() { SPLITPRIV_OUTPUTS=$D/joblib cli run -m hydra/launcher=joblib hydra.launcher.n_jobs=2 $RUN
           SPLITPRIV_OUTPUTS=$D/joblib cli sweep status; }

ray() { export -f in_ray cli; export D RUN; unshare -n -p --fork --mount-proc bash -c in_ray; }  # what it starts ends with it
in_ray() {  # two nodes on loopback; the second is killed when some points are done
  ip link set lo up; export RAY_AUTH_MODE=token SPLITPRIV_OUTPUTS=$D/ray
  timeout 120 ray start --head --disable-usage-stats --port=6379 --num-cpus=1 --include-dashboard=false >"$D/ray.log" 2>&1
  before=$(pgrep raylet); timeout 120 ray start --disable-usage-stats --address=127.0.0.1:6379 --num-cpus=1 >>"$D/ray.log" 2>&1
  second=$(pgrep raylet | grep -vxF "$before")
  cli run -m hydra/launcher=ray hydra.launcher.address=127.0.0.1:6379 $RUN & sweep=$!
  until [ "$(ls "$D"/ray/multirun/*/*/done.json 2>/dev/null | wc -l)" -ge 6 ] || ! kill -0 $sweep 2>/dev/null; do sleep .2; done
  cli sweep status
  echo "killing the second node: $second"; kill -9 $second; sleep 4; cli sweep status
  wait $sweep; cli sweep status
}
slurm() {
  export SPLITPRIV_OUTPUTS=$D/slurm
  cli run -m hydra/launcher=slurm hydra.launcher.memory=1 hydra.launcher.minutes=10 $RUN & sweep=$!
  until [ "$(ls "$D"/slurm/multirun/*/*/done.json 2>/dev/null | wc -l)" -ge 4 ] || ! kill -0 $sweep 2>/dev/null; do sleep .2; done
  cli sweep status
  task=$(squeue -h -r -t RUNNING -o "%F_%K" | head -1); echo "requeueing $task"; scontrol requeue "$task"
  wait $sweep; cli sweep status
}
short() {  # one longer run, and the signal that Slurm sends before its time limit, in the midst of training
  local long="$ONE defense=[noise] optim.epochs=${LONG:-1000}"
  SPLITPRIV_OUTPUTS=$D/whole cli run $long; export SPLITPRIV_OUTPUTS=$D/short
  cli run -m hydra/launcher=slurm hydra.launcher.memory=1 hydra.launcher.minutes=10 $long seed=0 & sweep=$!
  until curve=$(ls "$D"/short/fit/*/curve.json 2>/dev/null | head -1); [ -n "$curve" ] || ! kill -0 $sweep 2>/dev/null; do sleep .1; done
  scancel --signal=USR1 "$(squeue -h -r -t RUNNING -o %i | head -1)"; sleep 1
  echo "cut after $(grep -o '"epoch"' "$curve" | wc -l) of ${LONG:-1000} epochs"
  wait $sweep; cli sweep status
  cat "$D"/short/multirun/*/slurm/*_log.* | grep -oE "Caught signal SIGUSR1|Requeued job [0-9_]+"
  echo "begun $(grep -c '^--- ' "$D"/short/multirun/*/0/log.txt) times"
  compare whole short
}
compare() { python - "$D" "$@" <<'PY'
import sys
from pathlib import Path
from splitpriv.store import Store
told = lambda row: {k: v for k, v in row.items() if not k.startswith(("version/", "commit")) and "latency" not in k}
root = Path(sys.argv[1])
first, *others = sys.argv[2:] or ("serial", "joblib", "ray", "slurm")
serial = {row["key"]: told(row) for row in Store(root / first).rows()}
for name in others:
    rows = {row["key"]: told(row) for row in Store(root / name).rows()}
    print(f"{name}: {len(rows)} rows,", f"equal to the {first} ones" if rows == serial else "NOT equal")
PY
}
for what in "${@:-serial joblib ray slurm compare}"; do for each in $what; do echo "--- $each"; $each; done; done

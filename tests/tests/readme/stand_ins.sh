# What README's commands name, for a test: bash reads this before each block. The PATH has no other program than those below, so a command that has
# no rule here is not found, and fails. Each rule says what it did in $NOTES, a line a command: the rule, a tab, and the words.

note() { printf '%s\t%s\n' "$1" "${*:2}" >>"$NOTES"; }

# Few samples, two steps a stage and one seed: what is left of a run's minutes on a processor is the way through all of it.
few=(--set data.train_count=128 --set data.test_count=32)
short=(--set win.start_inputs=64 --set fitnets.hint_epochs=1)
for stage in wide vanilla kd fitnets narrow tune; do
  short+=(--set "$stage.steps=2" --set "$stage.warmup=0" --set "$stage.batch=8")
done

taper() {
  local words=()
  case "$1 ${2-}" in
    # Nobody has ImageNet in a test, nor the hours: what would be trained is looked at, with all that the command changes.
    "run imagenet-"*)
      note inspected taper "$@"
      shift
      while (($#)); do
        case $1 in
          --out | --task) shift 2 ;;
          *) words+=("$1") && shift ;;
        esac
      done
      "$TAPER" inspect "${words[@]}"
      ;;
    "run --"*)
      note ran taper "$@"
      "$TAPER" "$@"
      ;;
    "run "*)
      note shortened taper "$@"
      words=("${short[@]}")
      case "$2" in
        demo | mnist-* | cifar10-*) words+=("${few[@]}") ;;
      esac
      # The number of tasks is that of the seeds.
      case "$*" in
        *--task*) ;;
        *) words+=(--set "seeds=[0]") ;;
      esac
      "$TAPER" "$@" "${words[@]}"
      ;;
    # It serves until it is stopped: here, until its block ends. A reader types what follows in another terminal, once it says where it is.
    serve\ *)
      note served taper "$@"
      # A finished run, whose model is there to be asked for.
      mkdir -p taper-data/runs
      cp -R runs/mine taper-data/runs/
      "$TAPER" "$@" --bind "127.0.0.1:$PORT" &
      server=$!
      trap 'kill "$server"; wait "$server" || true' EXIT
      local tries=0
      until command curl -sf "http://127.0.0.1:$PORT/healthz"; do
        kill -0 "$server"
        ((++tries < 600))
        sleep 0.1
      done
      ;;
    *)
      note ran taper "$@"
      "$TAPER" "$@"
      ;;
  esac
}

# The set-up itself, which the CI goes through by `cargo xtask test`: the verb is one that `cargo xtask` knows.
cargo() {
  note "known verb" cargo "$@"
  [ "$1" = xtask ] && [ $# -eq 2 ] && grep -q "^  $2 " "$VERBS"
}

# Python's own server of files, which never ends.
python3() {
  note "not run" python3 "$@"
  [ "$1 $2" = "-m http.server" ]
}

curl() {
  note ran curl "$@"
  local answer
  case "$*" in
    # The stream has no end: it is left after two seconds, for which curl has a status.
    *"/api/events"*) command curl -sS --fail-with-body --max-time 2 "$@" || [ $? -eq 28 ] ;;
    *)
      answer=$(command curl -sS --fail-with-body "$@")
      # What the commands after this one call ID.
      if [[ "$*" == */api/runs\ * ]]; then
        [[ $answer =~ \"id\":\"([^\"]+)\" ]]
        echo "${BASH_REMATCH[1]}" >ID
      fi
      ;;
  esac
}

# Launchers and schedulers start the command elsewhere or several times; here it runs once, as they would start it.
launched() {
  while [ "$1" != taper ]; do shift; done
  "$@"
}
mpirun() { launched "$@"; }
srun() { SLURM_ARRAY_TASK_ID=0 SLURM_ARRAY_TASK_COUNT=5 launched "$@"; }
# Asked only where a task was stopped, which none is.
scontrol() { false; }
parallel() {
  local line
  while read -r line; do launched "${@//\{\}/$line}"; done
}

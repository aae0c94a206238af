#!/bin/sh
# A small BIDS App: for each participant a table of the functional images and their sizes; for the group one of all.
set -eu

usage() {
  cat <<'END'
usage: example-app-shell [-h] [-v] [--participant_label LABEL [LABEL ...]]
                         [--task TASK] [--skip_bids_validator]
                         bids_dir output_dir {participant,group}

Lists the size of every functional image.

positional arguments:
  bids_dir              The BIDS data set
  output_dir            Where the tables are written
  {participant,group}   Level of the analysis

options:
  -h, --help            show this help message and exit
  -v, --version         show the version and exit
  --participant_label LABEL [LABEL ...]
                        Labels of the participants, without "sub-"; default all
  --task TASK           Only the images of this task
  --skip_bids_validator
                        Do not look whether the folder is a BIDS data set
END
}

# Draft 27 of the BIDS extension proposals gives these: 16 invalid data set, 17 unknown level, 18 nothing matches.
fail() {
  status=$1
  shift
  printf 'example-app-shell: %s\n' "$*" >&2
  exit "$status"
}

labels='' task='' validate=yes
bids='' out='' level='' given=0
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help) usage; exit 0 ;;
    -v | --version) echo 'example-app-shell 1.0'; exit 0 ;;
    --participant_label | --participant-label)
      shift
      while [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; do
        labels="$labels ${1#sub-}"
        shift
      done
      continue ;;
    --task) [ $# -gt 1 ] || fail 64 '--task needs a value'; task=$2; shift ;;
    --skip_bids_validator) validate=no ;;
    -*) fail 64 "unknown option $1" ;;
    *)
      given=$((given + 1))
      case $given in
        1) bids=$1 ;;
        2) out=$1 ;;
        3) level=$1 ;;
        *) fail 64 "one argument too many: $1" ;;
      esac ;;
  esac
  shift
done
[ "$given" = 3 ] || { usage >&2; fail 64 'expected bids_dir output_dir level'; }
case $level in participant | group) ;; *) fail 17 "unknown level $level; known are participant and group" ;; esac
if [ "$validate" = yes ] && [ ! -f "$bids/dataset_description.json" ]; then
  fail 16 "$bids has no dataset_description.json: it is no BIDS data set"
fi

# The header of a NIfTI-1 image, in this machine's byte order; the sizes of its axes begin at byte 42.
header() {
  case $1 in *.gz) gunzip -c "$1" ;; *) cat "$1" ;; esac 2>/dev/null | head -c 352
}
number() { od -An -t"$2" -j"$3" -N"$4" "$1" | tr -s ' ' '\t' | sed 's/^\t//'; }

table() {
  printf 'filename\ti\tj\tk\tvolumes\n'
  for image in "$1"/func/*_bold.nii* "$1"/ses-*/func/*_bold.nii*; do
    [ -f "$image" ] || continue
    if [ -n "$task" ]; then case ${image##*/} in *_task-"$task"_*) ;; *) continue ;; esac; fi
    header "$image" >"$work"
    [ "$(wc -c <"$work")" -ge 348 ] || fail 16 "$image is cut short or no NIfTI image"
    sizes=$(number "$work" u2 42 8) found=yes
    printf '%s\t%s\n' "${image#"$bids"/}" "$sizes"
  done
}

found=no
mkdir -p "$out"
work=$(mktemp)
trap 'rm -f "$work"' EXIT
if [ "$level" = participant ]; then
  [ -n "$labels" ] || for folder in "$bids"/sub-*/; do
    [ -d "$folder" ] && folder=${folder%/} && labels="$labels ${folder##*/sub-}"
  done
  [ -n "$labels" ] || fail 18 "$bids has no participant"
  for label in $labels; do
    [ -d "$bids/sub-$label" ] || fail 18 "$bids has no participant $label"
    echo "participant $label"
    mkdir -p "$out/sub-$label"
    table "$bids/sub-$label" >"$out/sub-$label/sub-${label}_images.tsv"
  done
  [ "$found" = yes ] || fail 18 "no functional image${task:+ of task $task}"
else
  first=yes
  for file in "$out"/sub-*/sub-*_images.tsv; do
    [ -f "$file" ] || fail 18 "$out has no tables of participants: run the level participant first"
    if [ "$first" = yes ]; then cat "$file"; else tail -n +2 "$file"; fi
    first=no
  done >"$out/.group" && mv "$out/.group" "$out/group_images.tsv"
  echo 'group'
fi
cat >"$out/dataset_description.json" <<'END'
{
  "Name": "Sizes of functional images",
  "BIDSVersion": "1.10.0",
  "DatasetType": "derivative",
  "GeneratedBy": [{"Name": "example-app-shell", "Version": "1.0"}]
}
END

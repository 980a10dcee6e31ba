#!/bin/bash
# Workers as an array of SunGrid Engine jobs: qsub -V -t 1-4 sge-workers.sh [scheduler-file]
#$ -S /bin/bash
#$ -N dworker
#$ -cwd
#$ -j y
#$ -o dworker-$JOB_ID.$TASK_ID.log
#$ -l h_rt=01:00:00
# The engine kills without a word at h_rt, so each worker hands over its data and leaves some time before.
exec dworker --scheduler-file "${1:-scheduler.json}" --nthreads "${NSLOTS:-1}" --name "sge-$JOB_ID-$SGE_TASK_ID" \
  --local-directory "${TMPDIR:-${TMP:-/tmp}}" --death-timeout 60 --lifetime 55m --lifetime-stagger 4m

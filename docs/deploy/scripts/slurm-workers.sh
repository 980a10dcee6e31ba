#!/bin/bash
# Workers as an array of Slurm jobs: sbatch --array=1-4 slurm-workers.sh [scheduler-file]
#SBATCH --job-name=dworker
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --mem=1G
#SBATCH --time=01:00:00
#SBATCH --output=dworker-%A.%a.log
# scancel and the end of the time send SIGTERM and wait KillWait seconds: the worker hands over its data meanwhile.
exec dworker --scheduler-file "${1:-scheduler.json}" --nthreads "$SLURM_CPUS_PER_TASK" \
  --memory-limit "${SLURM_MEM_PER_NODE}MiB" --name "slurm-$SLURM_JOB_ID" --death-timeout 60

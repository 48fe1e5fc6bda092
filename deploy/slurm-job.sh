#!/bin/sh
# What each job's batch script is made from: nibble serve --executor slurm --job-template deploy/slurm-job.sh
# Memory is asked for as it is predicted, unless --mem is named here. With --gres=gpu:1 jobs are taken to compute on a GPU.
#SBATCH --cpus-per-task=4
#SBATCH --time=24:00:00
exec "$@"

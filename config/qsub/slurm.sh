#!/bin/bash
# The script that is submitted where conf.yaml names no other one (qsub.template). It is an ordinary RELION submission
# template: copy it, change what your cluster wants differently, and name your copy for RELION and crboost alike.
# `crboost config --relion` prints the variables with which RELION offers the same fields.
#
# The table qsub.extra in conf.yaml says what each XXXextraNXXX is. Where a value is empty, its line is left out.
#SBATCH --partition=XXXextra1XXX
#SBATCH --constraint="XXXextra2XXX"
#SBATCH --nodes=XXXextra3XXX
#SBATCH --ntasks-per-node=XXXextra4XXX
#SBATCH --cpus-per-task=XXXextra5XXX
#SBATCH --gres=XXXextra6XXX
#SBATCH --mem=XXXextra7XXX
#SBATCH --time=XXXextra8XXX
#SBATCH --account=XXXextra9XXX
#SBATCH --qos=XXXextra10XXX
#
# RELION needs these three. crboost sets job name, output and error itself.
#SBATCH --job-name=XXXnameXXX
#SBATCH --output=XXXoutfileXXX
#SBATCH --error=XXXerrfileXXX

# Whatever every job of yours needs on the node, for example:
# module load openmpi

# What stands before XXXcommandXXX is for programs with MPI only.
mpirun -n XXXmpinodesXXX XXXcommandXXX

using System.Globalization;

namespace Nibble.Kernels.Communication;

/// <summary>Who started this process among others, as the environment tells it.</summary>
/// <param name="Program">mpirun, mpiexec or srun.</param>
/// <param name="Rank">This process.</param>
/// <param name="Size">How many it started.</param>
internal sealed record Launcher(string Program, int Rank, int Size)
{
    /// <summary>What Open MPI's mpirun, MPICH's mpiexec and Slurm's srun tell their processes. (In a batch script Slurm names tasks, but no step has any yet.)</summary>
    private static readonly (string Program, string Rank, string Size)[] Known =
    [
        ("mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
        ("mpiexec", "PMI_RANK", "PMI_SIZE"),
        ("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
    ];

    /// <summary>Null where this process is alone.</summary>
    /// <exception cref="ArgumentException">The launcher is one whose processes do not meet over MPI.</exception>
    public static Launcher? From(Func<string, string?> environment)
    {
        foreach ((string program, string rank, string size) in Known)
        {
            if (Number(rank) is { } own && Number(size) is { } all)
            {
                return all > 1 ? new Launcher(program, own, all) : null;
            }
        }

        return Number("RANK") is { } torchRank && Number("WORLD_SIZE") is { } torchSize and > 1
            ? throw new ArgumentException(
                $"This is rank {torchRank} of {torchSize} by RANK and WORLD_SIZE, as torchrun starts processes; they meet over MPI here: start them with 'mpirun -n {torchSize}' or 'srun --mpi=pmix -n {torchSize}'.")
            : null;

        int? Number(string name) => int.TryParse(environment(name), CultureInfo.InvariantCulture, out int number) ? number : null;
    }
}

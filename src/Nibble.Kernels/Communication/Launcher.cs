using System.Globalization;

namespace Nibble.Kernels.Communication;

/// <summary>Who started this process among others, as the environment tells it.</summary>
/// <param name="Program">mpirun, mpiexec, srun or torchrun.</param>
/// <param name="Rank">This process.</param>
/// <param name="Size">How many it started.</param>
/// <param name="LocalRank">This process among those of its machine.</param>
internal sealed record Launcher(string Program, int Rank, int Size, int LocalRank)
{
    /// <summary>One whose processes do not meet over MPI.</summary>
    public const string Torchrun = "torchrun";

    /// <summary>What Open MPI's mpirun, MPICH's mpiexec, Slurm's srun and torchrun tell their processes. (In a batch script Slurm names tasks, but no step has any yet.)</summary>
    private static readonly (string Program, string Rank, string Size, string LocalRank)[] Known =
    [
        ("mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
        ("mpiexec", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
        ("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
        (Torchrun, "RANK", "WORLD_SIZE", "LOCAL_RANK"),
    ];

    /// <summary>Null where this process is alone.</summary>
    public static Launcher? From(Func<string, string?> environment)
    {
        foreach ((string program, string rank, string size, string local) in Known)
        {
            if (Number(rank) is { } own && Number(size) is { } all)
            {
                return all > 1 ? new Launcher(program, own, all, Number(local) ?? 0) : null;
            }
        }

        return null;

        int? Number(string name) => int.TryParse(environment(name), CultureInfo.InvariantCulture, out int number) ? number : null;
    }
}

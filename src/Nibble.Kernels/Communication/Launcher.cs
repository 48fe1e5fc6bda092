using System.Globalization;

namespace Nibble.Kernels.Communication;

/// <summary>Who started this process among others, as the environment tells it.</summary>
/// <param name="Program">mpirun, mpiexec, srun or torchrun.</param>
/// <param name="Rank">This process.</param>
/// <param name="Size">How many it started.</param>
internal sealed record Launcher(string Program, int Rank, int Size)
{
    /// <summary>One whose processes do not meet over MPI.</summary>
    public const string Torchrun = "torchrun";

    /// <summary>What Open MPI's mpirun, MPICH's mpiexec, Slurm's srun and torchrun tell their processes. (In a batch script Slurm names tasks, but no step has any yet.)</summary>
    private static readonly (string Program, string Rank, string Size)[] Known =
    [
        ("mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
        ("mpiexec", "PMI_RANK", "PMI_SIZE"),
        ("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
        (Torchrun, "RANK", "WORLD_SIZE"),
    ];

    /// <summary>Null where this process is alone.</summary>
    public static Launcher? From(Func<string, string?> environment)
    {
        foreach ((string program, string rank, string size) in Known)
        {
            if (Number(rank) is { } own && Number(size) is { } all)
            {
                return all > 1 ? new Launcher(program, own, all) : null;
            }
        }

        return null;

        int? Number(string name) => int.TryParse(environment(name), CultureInfo.InvariantCulture, out int number) ? number : null;
    }
}

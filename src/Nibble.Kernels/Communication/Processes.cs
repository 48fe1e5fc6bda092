namespace Nibble.Kernels.Communication;

/// <summary>This process among those that mpirun or srun started with it.</summary>
public static class Processes
{
    private static readonly Lazy<Launcher?> Started = new(() => Launcher.From(Environment.GetEnvironmentVariable));
    private static readonly Lazy<ICommunicator> All = new(Join);

    /// <summary>This process's rank by what its launcher says, 0 where it is alone; nothing is loaded or joined to know it.</summary>
    public static int Rank => Started.Value?.Rank ?? 0;

    /// <summary>How many processes were started together, by what their launcher says.</summary>
    public static int Count => Started.Value?.Size ?? 1;

    /// <summary>
    /// All processes, which the first call joins; one where the process was started alone. Processes that share their processors
    /// divide them, unless OMP_NUM_THREADS says how many threads each has.
    /// </summary>
    /// <exception cref="ArgumentException">The launcher is one whose processes do not meet over MPI.</exception>
    /// <exception cref="DllNotFoundException">There are several processes, and no MPI.</exception>
    /// <exception cref="IOException">The processes do not find each other.</exception>
    public static ICommunicator World => All.Value;

    /// <summary>Leaves the other processes, when all have come to this.</summary>
    public static void Leave()
    {
        if (HaveJoined)
        {
            MpiCommunicator.Leave();
        }
    }

    /// <summary>Ends all processes, if there are others, for they would wait for this one. Does not return then.</summary>
    public static void Abort(int code)
    {
        if (HaveJoined)
        {
            MpiCommunicator.Abort(code);
        }
    }

    private static bool HaveJoined => All is { IsValueCreated: true, Value: MpiCommunicator };

    private static ICommunicator Join()
    {
        if (Started.Value is not { } launcher)
        {
            return new SingleProcess();
        }

        if (launcher.Program == Launcher.Torchrun)
        {
            throw new ArgumentException(
                $"RANK and WORLD_SIZE say that torchrun started {launcher.Size} processes; here they meet over MPI: start them with 'mpirun -n {launcher.Size}' or 'srun --mpi=pmix -n {launcher.Size}'.");
        }

        var world = new MpiCommunicator();
        if (world.Size != launcher.Size)
        {
            throw new IOException(
                $"{launcher.Program} started {launcher.Size} processes, but MPI sees {world.Size}: the two do not belong together. Use the mpirun of the installed MPI, or 'srun --mpi=pmix'.");
        }

        if (string.IsNullOrEmpty(Environment.GetEnvironmentVariable("OMP_NUM_THREADS")))
        {
            Cpu.Threads = Math.Max(1, Cpu.Threads / MpiCommunicator.Sharers);
        }

        return world;
    }
}

using Nibble.Kernels.Cuda;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Kernels.Communication;

/// <summary>This process among those that mpirun, srun or torchrun started with it.</summary>
public static class Processes
{
    private static readonly Lazy<Launcher?> Started = new(() => Launcher.From(Environment.GetEnvironmentVariable));
    private static NativeCommunicator? joined;

    /// <summary>This process's rank by what its launcher says, 0 where it is alone; nothing is loaded or joined to know it.</summary>
    public static int Rank => Started.Value?.Rank ?? 0;

    /// <summary>How many processes were started together, by what their launcher says.</summary>
    public static int Count => Started.Value?.Size ?? 1;

    /// <summary>
    /// Joins all processes, once; one where the process was started alone. They communicate over MPI and compute on the CPU, or over NCCL
    /// where each has a GPU of its own, the one of its number on its machine. Processes that share their processors divide them,
    /// unless OMP_NUM_THREADS says how many threads each has.
    /// </summary>
    /// <param name="device"><c>auto</c>: GPUs where every process has one, else the CPU; <c>cpu</c>.</param>
    /// <param name="limit">How long processes wait to find each other.</param>
    /// <exception cref="ArgumentException">The device is another one; or these processes do not meet over MPI, and are to compute on the CPU.</exception>
    /// <exception cref="NotSupportedException">Some processes have a GPU, and others none.</exception>
    /// <exception cref="DllNotFoundException">There are several processes, and no MPI.</exception>
    /// <exception cref="IOException">The processes do not find each other within the limit, or NCCL is not there.</exception>
    public static ICommunicator Join(string device, TimeSpan limit)
    {
        if (Started.Value is not { } launcher)
        {
            return new SingleProcess();
        }

        if (device is not (ComputeDevice.Auto or ComputeDevice.Cpu))
        {
            throw new ArgumentException($"device is {device}, but each of the {launcher.Size} processes of this run computes on its own; set device to auto or cpu.");
        }

        return launcher.Program == Launcher.Torchrun ? JoinByAddress(launcher, device, limit) : JoinOverMpi(launcher, device, limit);
    }

    /// <summary>Leaves the other processes, when all have come to this.</summary>
    public static void Leave() => joined?.Leave();

    /// <summary>Ends all processes, if there are others, for they would wait for this one. Over MPI it does not return.</summary>
    public static void Abort(int code) => joined?.Abort(code);

    private static NcclCommunicator JoinByAddress(Launcher launcher, string device, TimeSpan limit)
    {
        string? problem = device == ComputeDevice.Cpu ? "device is cpu" : ProblemOfGpu(launcher.LocalRank);
        return problem is null
            ? OverNccl(Rendezvous.Meet(launcher.Rank, launcher.Size, Environment.GetEnvironmentVariable, limit), launcher)
            : throw new ArgumentException(
                $"RANK and WORLD_SIZE say that torchrun started {launcher.Size} processes, which need a GPU each ({problem}); on the CPU they meet over MPI: start them with 'mpirun -n {launcher.Size}' or 'srun --mpi=pmix -n {launcher.Size}'.");
    }

    private static NativeCommunicator JoinOverMpi(Launcher launcher, string device, TimeSpan limit)
    {
        // MPI waits for one that never comes as long as its launcher lets it; MPICH's does not end the others when one fails before.
        Task<MpiCommunicator> joining = Task.Run(() => new MpiCommunicator());
        if (Task.WaitAny([joining], (int)Math.Min(limit.TotalMilliseconds, int.MaxValue)) < 0)
        {
            throw new IOException($"not all of the {launcher.Size} processes that {launcher.Program} started joined within {limit.TotalSeconds:0} s");
        }

        MpiCommunicator world = joining.GetAwaiter().GetResult();
        joined = world;
        if (world.Size != launcher.Size)
        {
            throw new IOException(
                $"{launcher.Program} started {launcher.Size} processes, but MPI sees {world.Size}: the two do not belong together. Use the mpirun of the installed MPI, or 'srun --mpi=pmix'.");
        }

        if (string.IsNullOrEmpty(Environment.GetEnvironmentVariable("OMP_NUM_THREADS")))
        {
            Cpu.Threads = Math.Max(1, Cpu.Threads / MpiCommunicator.Sharers);
        }

        string? problem = device == ComputeDevice.Cpu ? "device is cpu" : ProblemOfGpu(launcher.LocalRank);
        double[][] gpus = world.Gather(problem is null ? 1 : 0);
        if (gpus.All(rank => rank[0] == 0))
        {
            return world;
        }

        int without = Array.FindIndex(gpus, rank => rank[0] == 0);
        if (without >= 0)
        {
            throw new NotSupportedException(
                $"rank {without} has no GPU of its own{(without == world.Rank ? $" ({problem})" : "")}, others have one; start as many processes on a machine as it has GPUs, or set device to cpu.");
        }

        return OverNccl(world, launcher);
    }

    private static NcclCommunicator OverNccl(IMeeting meeting, Launcher launcher)
    {
        var world = new NcclCommunicator(meeting, new Device(DeviceType.CUDA, launcher.LocalRank));
        joined = world;
        return world;
    }

    /// <summary>Why this process cannot compute on the GPU of this number; null when it can.</summary>
    private static string? ProblemOfGpu(int ordinal)
    {
        var report = GpuReport.Read();
        return report.Problem ?? (ordinal < report.Gpus.Count ? report.Gpus[ordinal].Problem : $"this machine has {report.Gpus.Count} GPUs");
    }
}

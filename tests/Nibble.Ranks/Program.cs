using Nibble.Kernels.Communication;
using Nibble.Training;
using Nibble.Training.Configuration;
using static TorchSharp.torch;

// One process of training runs that follow each other, so that a test of many settings starts its processes once. Arguments are key=value,
// as after "nibble train --set", with "--" between runs. Processes communicate as those of nibble do; or over NCCL where there is no GPU:
// NIBBLE_NCCL and NIBBLE_CUDA_DRIVER name the emulation, whose memory is the host's.
IMeeting? meeting = null;
NcclCommunicator? nccl = null;
try
{
    RunConfig[] runs = [.. Runs(args).Select(settings => ConfigBinder.Load(null, settings))];
    var limit = TimeSpan.FromSeconds(runs[0].Training.DdpTimeout);
    ICommunicator world;
    if (Environment.GetEnvironmentVariable("NIBBLE_NCCL") is null)
    {
        world = Processes.Join(runs[0].Device, limit);
    }
    else
    {
        Launcher launcher = Launcher.From(Environment.GetEnvironmentVariable) ?? throw new InvalidOperationException("NCCL is for several processes.");
        meeting = launcher.Program == Launcher.Torchrun
            ? Rendezvous.Meet(launcher.Rank, launcher.Size, Environment.GetEnvironmentVariable, limit)
            : new MpiCommunicator();
        world = nccl = new NcclCommunicator(meeting, CPU);
    }

    foreach (RunConfig run in runs)
    {
        new FineTuner(run, new Lines()) { World = world }.Run();
    }

    nccl?.Leave();
    Processes.Leave();
    return 0;
}
catch (Exception exception)
{
    Console.Error.WriteLine($"nibble: rank {(Launcher.From(Environment.GetEnvironmentVariable)?.Rank ?? 0)}: {exception.Message}");
    await Task.Delay(TimeSpan.FromSeconds(1)).ConfigureAwait(false); // The others are to say what they know.
    (nccl ?? meeting as NativeCommunicator)?.Abort(1);
    Processes.Abort(1);
    return 1;
}

static IEnumerable<string[]> Runs(string[] args)
{
    for (int first = 0; first < args.Length;)
    {
        int end = Array.IndexOf(args, "--", first) is >= 0 and int found ? found : args.Length;
        yield return args[first..end];
        first = end + 1;
    }
}

internal sealed class Lines : ITrainingObserver
{
    public void Progress(int done, int totalSteps, double loss) => Console.Error.WriteLine($"step {done} of {totalSteps}");
}

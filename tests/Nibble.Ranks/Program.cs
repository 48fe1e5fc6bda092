using Nibble.Kernels.Communication;
using Nibble.Training;
using Nibble.Training.Configuration;
using static TorchSharp.torch;

// One process of a training run that communicates over NCCL, where there is no GPU: NIBBLE_NCCL and NIBBLE_CUDA_DRIVER name the
// emulation, whose memory is the host's. Arguments are key=value, as after "nibble train --set".
Launcher launcher = Launcher.From(Environment.GetEnvironmentVariable) ?? throw new InvalidOperationException("This is for several processes.");
IMeeting? meeting = null;
NcclCommunicator? world = null;
try
{
    RunConfig config = ConfigBinder.Load(null, args);
    var limit = TimeSpan.FromSeconds(config.Training.DdpTimeout);
    meeting = launcher.Program == Launcher.Torchrun
        ? Rendezvous.Meet(launcher.Rank, launcher.Size, Environment.GetEnvironmentVariable, limit)
        : new MpiCommunicator();
    world = new NcclCommunicator(meeting, CPU);
    new FineTuner(config, new Lines()) { World = world }.Run();
    world.Leave();
    return 0;
}
catch (Exception exception)
{
    Console.Error.WriteLine($"nibble: rank {launcher.Rank}: {exception.Message}");
    await Task.Delay(TimeSpan.FromSeconds(1)).ConfigureAwait(false); // The others are to say what they know.
    (world ?? meeting as NativeCommunicator)?.Abort(1);
    return 1;
}

internal sealed class Lines : ITrainingObserver
{
    public void Progress(int done, int totalSteps, double loss) => Console.Error.WriteLine($"step {done} of {totalSteps}");
}

using Nibble.Cli.Commands;
using Nibble.Kernels.Communication;
using Nibble.Training;
using Nibble.Training.Configuration;

namespace Nibble.Cli.Registry;

/// <summary>Runs a fine-tune that the registry knows of.</summary>
internal static class RegisteredRun
{
    /// <summary>Trains, with progress on standard error.</summary>
    public static TrainingResult Train(RunConfig config, bool quiet, bool resume, bool profile, CancellationToken cancellation)
    {
        long? id = null;
        try
        {
            TrainingResult result = Progress.Show(quiet, observer => new FineTuner(config, observer)
            {
                Profiles = profile,
                World = Processes.Join(config.Device, TimeSpan.FromSeconds(config.Training.DdpTimeout)),
                Began = () => id = RunRegistry.Begin(config, resume),
            }.Run(resume, cancellation));
            End("completed");
            return result;
        }
        catch (Exception exception)
        {
            End(exception is OperationCanceledException ? "interrupted" : "failed");
            throw;
        }

        void End(string status)
        {
            if (id is { } number)
            {
                RunRegistry.End(number, status, config.OutputDir);
            }
        }
    }
}

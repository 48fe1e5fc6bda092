using Nibble.Cli.Commands;
using Nibble.Training;
using Nibble.Training.Configuration;
using Nibble.Training.Reporting;

namespace Nibble.Cli.Registry;

/// <summary>Runs a fine-tune that the registry knows of. Whatever ails the registry, the run goes on, after one line of warning.</summary>
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
                Began = () => Try(() => id = RunRegistry.Begin(config, resume)),
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
                Try(() => RunRegistry.End(number, status, RunRecord.Load(config.OutputDir)));
            }
        }
    }

    private static void Try(Action register)
    {
        try
        {
            register();
        }
        catch (Exception exception)
        {
            Console.Error.WriteLine($"nibble: warning: {exception.Message}");
        }
    }
}

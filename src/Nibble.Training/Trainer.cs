using Nibble.Data;
using Nibble.Training.Configuration;

namespace Nibble.Training;

/// <summary>Fine-tunes from code; <see cref="FineTuner"/> does the same from a configuration file.</summary>
/// <param name="model">The base model's folder.</param>
/// <param name="training">Loop and optimizer; null for the defaults.</param>
public abstract class Trainer(string model, TrainingSection? training)
{
    /// <summary>Trains on a file of examples and writes the folder of the adapter or the model.</summary>
    /// <param name="data">The examples.</param>
    /// <param name="outputDir">Where results go; must not hold another run.</param>
    /// <param name="resume">Goes on from the newest checkpoint of the output folder, if it has one.</param>
    /// <param name="observer">Is told how the run proceeds.</param>
    /// <param name="cancellation">Saves a checkpoint and ends after the current step.</param>
    public TrainingResult Train(
        DataSection data, string outputDir, bool resume = false, ITrainingObserver? observer = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(data);
        RunConfig run = Configure(new RunConfig
        {
            Model = model,
            OutputDir = outputDir,
            Data = data,
            Training = training ?? new TrainingSection(),
        });
        return new FineTuner(run, observer).Run(resume, cancellation);
    }

    /// <summary>What distinguishes the trainer.</summary>
    protected abstract RunConfig Configure(RunConfig run);

    /// <summary>Refuses files whose records have another form.</summary>
    /// <param name="data">The files.</param>
    /// <param name="forms">Those that the trainer takes.</param>
    /// <param name="advice">What to do instead.</param>
    private protected static void RequireForm(DataSection data, DatasetFormat[] forms, string advice)
    {
        foreach (string path in new[] { data.Train, data.Eval }.OfType<string>().Where(path => path.Length > 0))
        {
            DatasetFormat form = DatasetReader.FormOf(path, data.Format);
            if (!forms.Contains(form))
            {
                throw new InvalidDataException($"{path} holds {form.ToString().ToLowerInvariant()} records; {advice}.");
            }
        }
    }
}

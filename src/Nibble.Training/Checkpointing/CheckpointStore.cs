using System.Globalization;
using System.Text.Json;
using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Decoder;
using static TorchSharp.torch;

namespace Nibble.Training.Checkpointing;

/// <summary>
/// Checkpoints of a run, <c>checkpoint-N</c> in its output folder. One is written under a temporary name, synced and renamed,
/// so that a folder of that name is always whole.
/// </summary>
internal sealed class CheckpointStore(string outputDir, int limit)
{
    private const string WeightsFile = "weights.safetensors";
    private const string OptimizerFile = "optimizer.safetensors";
    private const string StateFile = "trainer_state.json";
    private const string BestFile = "best.safetensors";

    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower, WriteIndented = true };

    /// <summary>The newest checkpoint's folder, or null.</summary>
    public string? Latest => All().LastOrDefault().Folder;

    public void Save(TrainingState state, IReadOnlyList<Parameter> parameters, IReadOnlyDictionary<string, Tensor> optimizer)
    {
        string final = Path.Combine(outputDir, $"checkpoint-{state.Step}");
        string temporary = Path.Combine(outputDir, $".checkpoint-{state.Step}.tmp");
        if (Directory.Exists(temporary))
        {
            Directory.Delete(temporary, recursive: true);
        }

        Directory.CreateDirectory(temporary);
        try
        {
            SafetensorsWriter.Write(Path.Combine(temporary, WeightsFile), Named(parameters));
            SafetensorsWriter.Write(Path.Combine(temporary, OptimizerFile), optimizer);
            AtomicFile.WriteText(Path.Combine(temporary, StateFile), JsonSerializer.Serialize(state, Json));
            if (Directory.Exists(final))
            {
                Directory.Delete(final, recursive: true);
            }

            Directory.Move(temporary, final);
        }
        catch
        {
            Directory.Delete(temporary, recursive: true);
            throw;
        }

        foreach ((int _, string folder) in All().SkipLast(limit))
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <summary>Puts a checkpoint's values into the parameters and states, in place.</summary>
    /// <exception cref="InvalidDataException">The checkpoint is damaged.</exception>
    public static TrainingState Restore(string folder, IReadOnlyList<Parameter> parameters, IReadOnlyDictionary<string, Tensor> optimizer)
    {
        try
        {
            Fill(Path.Combine(folder, WeightsFile), Named(parameters));
            Fill(Path.Combine(folder, OptimizerFile), optimizer);
            TrainingState? state = JsonSerializer.Deserialize<TrainingState>(File.ReadAllText(Path.Combine(folder, StateFile)), Json);
            return state is { Step: > 0 } ? state : throw new InvalidDataException($"{StateFile} counts no steps.");
        }
        catch (Exception exception) when (exception is InvalidDataException or FileNotFoundException or JsonException)
        {
            throw new InvalidDataException($"{folder} is damaged; delete it to resume from the checkpoint before it. ({exception.Message})", exception);
        }
    }

    public void SaveBest(IReadOnlyList<Parameter> parameters) => SafetensorsWriter.Write(Path.Combine(outputDir, BestFile), Named(parameters));

    /// <summary>Puts the best weights back, where there are any.</summary>
    public void RestoreBest(IReadOnlyList<Parameter> parameters)
    {
        string path = Path.Combine(outputDir, BestFile);
        if (File.Exists(path))
        {
            Fill(path, Named(parameters));
        }
    }

    private static IEnumerable<KeyValuePair<string, Tensor>> Named(IEnumerable<Parameter> parameters) =>
        parameters.Select(parameter => KeyValuePair.Create(parameter.Name, parameter.Value));

    private static void Fill(string path, IEnumerable<KeyValuePair<string, Tensor>> targets)
    {
        using SafetensorsFile file = SafetensorsFile.Open(path);
        using IDisposable noGrad = no_grad();
        foreach ((string name, Tensor target) in targets)
        {
            using Tensor stored = file.View(name);
            if (!stored.shape.SequenceEqual(target.shape) || stored.dtype != target.dtype)
            {
                throw new InvalidDataException($"{path}: '{name}' does not fit this run.");
            }

            target.copy_(stored);
        }
    }

    private IEnumerable<(int Step, string Folder)> All() => Directory.Exists(outputDir)
        ? Directory.EnumerateDirectories(outputDir, "checkpoint-*")
            .Select(folder => (int.TryParse(Path.GetFileName(folder)["checkpoint-".Length..], CultureInfo.InvariantCulture, out int step) ? step : -1, folder))
            .Where(item => item.Item1 >= 0).OrderBy(item => item.Item1)
        : [];
}

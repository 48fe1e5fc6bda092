using System.Globalization;
using System.Text.Json;
using Nibble.Kernels.Runtime;
using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Decoder;
using Nibble.Training.Reporting;
using static TorchSharp.torch;

namespace Nibble.Training.Checkpointing;

/// <summary>
/// Checkpoints of a run, <c>checkpoint-N</c> in its output folder. One is written under a temporary name, synced and renamed, and one
/// that goes is renamed before it is deleted, so that a folder of that name is always whole, also after a kill or a power loss.
/// </summary>
/// <param name="outputDir">The run's folder.</param>
/// <param name="limit">Checkpoints that are kept.</param>
/// <param name="inBackground">Whether values are copied and then written beside the training.</param>
internal sealed class CheckpointStore(string outputDir, int limit, bool inBackground) : IDisposable
{
    private const string WeightsFile = "weights.safetensors";
    private const string OptimizerFile = "optimizer.safetensors";
    private const string StateFile = "trainer_state.json";
    private const string BestFile = "best.safetensors";
    private const string Replaced = ".replaced";

    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower, WriteIndented = true };

    private readonly BackgroundWriter writer = new();

    /// <summary>The newest checkpoint's folder, or null.</summary>
    public string? Latest => All().LastOrDefault().Folder;

    /// <summary>Writes a checkpoint, and deletes those that are more than <c>save_total_limit</c>.</summary>
    /// <exception cref="IOException">The disk is full or not writable, now or when the checkpoint before was written; those before are untouched.</exception>
    public void Save(TrainingState state, IReadOnlyList<Parameter> parameters, IReadOnlyDictionary<string, Tensor> optimizer, RunLog log) =>
        Write([Named(parameters), optimizer], values => Write(state, values[0], values[1], log));

    /// <summary>Keeps the weights as the best.</summary>
    public void SaveBest(IReadOnlyList<Parameter> parameters) =>
        Write([Named(parameters)], values => SafetensorsWriter.Write(Path.Combine(outputDir, BestFile), values[0]));

    /// <summary>Throws what writing in the background failed with, and does not wait for it.</summary>
    public void Check() => writer.Check();

    /// <summary>Waits until everything is written.</summary>
    public void Wait() => writer.Wait();

    /// <inheritdoc/>
    public void Dispose() => writer.Dispose();

    private void Write(IEnumerable<KeyValuePair<string, Tensor>>[] values, Action<IEnumerable<KeyValuePair<string, Tensor>>[]> write)
    {
        if (!inBackground)
        {
            write(values);
            return;
        }

        writer.Wait(); // Before the copy is made, so that there is only one.
        Dictionary<string, Tensor>[] copies = [.. values.Select(Copy)];
        writer.Start(() =>
        {
            try
            {
                write(copies);
            }
            finally
            {
                foreach (Tensor copy in copies.SelectMany(items => items.Values))
                {
                    copy.Dispose();
                }
            }
        });
    }

    private static Dictionary<string, Tensor> Copy(IEnumerable<KeyValuePair<string, Tensor>> values) => values.ToDictionary(item => item.Key, item =>
    {
        using Tensor value = item.Value.detach();
        return value.to(CPU, copy: true).DetachFromDisposeScope();
    });

    private void Write(TrainingState state, IEnumerable<KeyValuePair<string, Tensor>> weights, IEnumerable<KeyValuePair<string, Tensor>> optimizer, RunLog log)
    {
        string name = $"checkpoint-{state.Step}";
        string temporary = Hidden(name);
        try
        {
            DeleteIfThere(temporary);
            Directory.CreateDirectory(temporary);
            SafetensorsWriter.Write(Path.Combine(temporary, WeightsFile), weights);
            SafetensorsWriter.Write(Path.Combine(temporary, OptimizerFile), optimizer);
            AtomicFile.WriteText(Path.Combine(temporary, StateFile), JsonSerializer.Serialize(state, Json));
            log.Sync(); // What is logged up to here is not logged again by a run that resumes here.
            Place(temporary, name);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            DeleteIfThere(temporary);
            throw new IOException($"{name} could not be written, those before it are untouched: {exception.Message}", exception);
        }

        foreach ((int _, string folder) in All().SkipLast(limit))
        {
            Delete(folder);
        }
    }

    /// <summary>Deletes what a killed process was about to write or to delete, and puts back a checkpoint that it was about to replace.</summary>
    public static void Recover(string outputDir)
    {
        foreach (string replaced in Directory.EnumerateDirectories(outputDir, $".checkpoint-*{Replaced}"))
        {
            string whole = Path.Combine(outputDir, Path.GetFileName(replaced)[1..^Replaced.Length]);
            if (Directory.Exists(whole))
            {
                Directory.Delete(replaced, recursive: true);
            }
            else
            {
                Directory.Move(replaced, whole);
            }
        }

        foreach (string unfinished in Directory.EnumerateDirectories(outputDir, ".checkpoint-*.tmp"))
        {
            Directory.Delete(unfinished, recursive: true);
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

    /// <summary>Puts the best weights back, where there are any.</summary>
    public void RestoreBest(IReadOnlyList<Parameter> parameters)
    {
        string path = Path.Combine(outputDir, BestFile);
        if (File.Exists(path))
        {
            Fill(path, Named(parameters));
        }
    }

    private string Hidden(string name) => Path.Combine(outputDir, $".{name}.tmp");

    /// <summary>Gives a whole folder its name. One that has it already stays whole, under a name that <see cref="Recover"/> knows, until this is on the disk.</summary>
    private void Place(string temporary, string name)
    {
        string final = Path.Combine(outputDir, name);
        string replaced = Path.Combine(outputDir, $".{name}{Replaced}");
        if (Directory.Exists(final))
        {
            DeleteIfThere(replaced);
            Directory.Move(final, replaced);
        }

        Directory.Move(temporary, final);
        DurableFolder.Sync(outputDir);
        DeleteIfThere(replaced);
    }

    /// <summary>Takes the name first, for a folder is deleted file by file.</summary>
    private void Delete(string folder)
    {
        string temporary = Hidden(Path.GetFileName(folder));
        DeleteIfThere(temporary);
        Directory.Move(folder, temporary);
        Directory.Delete(temporary, recursive: true);
    }

    private static void DeleteIfThere(string folder)
    {
        if (Directory.Exists(folder))
        {
            Directory.Delete(folder, recursive: true);
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

using System.Globalization;
using System.Text.Json;
using Nibble.Kernels.Communication;
using Nibble.Kernels.Runtime;
using Nibble.Modeling.Adapters;
using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Decoder;
using Nibble.Training.Reporting;
using static TorchSharp.torch;

namespace Nibble.Training.Checkpointing;

/// <summary>
/// Checkpoints of a run, <c>checkpoint-N</c> in its output folder. One is written under a temporary name, synced and renamed, and one
/// that goes is renamed before it is deleted, so that a folder of that name is always whole, also after a kill or a power loss. One that is
/// in shards has a file from each rank; rank 0 makes and renames the folder. One of an adapter's run is an adapter in PEFT's form as well.
/// </summary>
/// <param name="outputDir">The run's folder.</param>
/// <param name="limit">Checkpoints that are kept.</param>
/// <param name="background">Writes copies of the values beside the training, the store's from now on; null: they are written while the training waits.</param>
/// <param name="world">Who write together.</param>
/// <param name="patience">How long rank 0 waits for the others' shards.</param>
/// <param name="adapter">The adapter that the run trains; null for whole models.</param>
internal sealed class CheckpointStore(
    string outputDir, int limit, BackgroundWriter? background, ICommunicator world, TimeSpan patience, CheckpointAdapter? adapter = null) : IDisposable
{
    private const string Best = "checkpoint-best";
    private const string WeightsFile = "weights.safetensors";
    private const string OptimizerFile = "optimizer.safetensors";
    private const string StateFile = "trainer_state.json";
    private const string BestFile = "best.safetensors";
    private const string Replaced = ".replaced";

    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower, WriteIndented = true };

    /// <summary>The newest checkpoint's folder, or null.</summary>
    public string? Latest => All().LastOrDefault().Folder;

    /// <summary>Writes a checkpoint, and deletes those that are more than <c>save_total_limit</c>.</summary>
    /// <exception cref="IOException">The disk is full or not writable, now or when the checkpoint before was written; those before are untouched.</exception>
    public void Save(TrainingState state, IReadOnlyList<Parameter> parameters, IReadOnlyDictionary<string, Tensor> optimizer, RunLog log) =>
        Write([Named(parameters), optimizer], values => Commit(
            $"checkpoint-{state.Step}",
            folder =>
            {
                Directory.CreateDirectory(folder);
                if (adapter is null)
                {
                    SafetensorsWriter.Write(Path.Combine(folder, WeightsFile), values[0]);
                }
                else
                {
                    SafetensorsWriter.Write(Path.Combine(folder, AdapterFolder.WeightsFile), values[0].Select(item => KeyValuePair.Create(AdapterFolder.Prefix + item.Key, item.Value)));
                    adapter.Describe(folder);
                }

                SafetensorsWriter.Write(Path.Combine(folder, OptimizerFile), values[1]);
                End(folder, state, log);
            }));

    /// <summary>Writes a checkpoint of which every rank has its own parts; all call this.</summary>
    /// <param name="state">Where the run stands.</param>
    /// <param name="parts">This rank's parts.</param>
    /// <param name="optimizer">Their states.</param>
    /// <param name="index">Which elements of each parameter each rank has.</param>
    /// <param name="log">Rank 0's.</param>
    /// <exception cref="IOException">As above; or the ranks do not see the same folder.</exception>
    public void Save(
        TrainingState state, IReadOnlyList<ParameterPart> parts, IReadOnlyDictionary<string, Tensor> optimizer, IReadOnlyDictionary<string, IReadOnlyList<ShardIndex.Part>> index, RunLog? log) =>
        WriteShards($"checkpoint-{state.Step}", [.. Named(parts), .. optimizer], index, folder => End(folder, state, log!));

    /// <summary>Keeps the weights as the best.</summary>
    public void SaveBest(IReadOnlyList<Parameter> parameters) => Write([Named(parameters)], values =>
    {
        SafetensorsWriter.Write(Path.Combine(outputDir, BestFile), values[0]);
        DeleteIfThere(Path.Combine(outputDir, Best));
    });

    /// <summary>Keeps the weights, of which every rank has its own parts, as the best; all call this.</summary>
    public void SaveBest(IReadOnlyList<ParameterPart> parts, IReadOnlyDictionary<string, IReadOnlyList<ShardIndex.Part>> index) =>
        WriteShards(Best, [.. Named(parts)], index, _ => File.Delete(Path.Combine(outputDir, BestFile)));

    /// <summary>Throws what writing in the background failed with, and does not wait for it.</summary>
    public void Check() => background?.Check();

    /// <summary>Waits until everything is written.</summary>
    public void Wait() => background?.Wait();

    /// <inheritdoc/>
    public void Dispose() => background?.Dispose();

    private void Write(IEnumerable<KeyValuePair<string, Tensor>>[] values, Action<IEnumerable<KeyValuePair<string, Tensor>>[]> write)
    {
        if (background is null)
        {
            write(values);
            return;
        }

        background.Wait(); // Before the copy is made, so that there is only one.
        Dictionary<string, Tensor>[] copies = [.. values.Select(Copy)];
        background.Start(() =>
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

    private void WriteShards(
        string name, IReadOnlyList<KeyValuePair<string, Tensor>> values, IReadOnlyDictionary<string, IReadOnlyList<ShardIndex.Part>> index, Action<string> end)
    {
        Wait(); // What is written now must not be begun again by rank 0.
        string temporary = Hidden(name);
        if (world.Rank == 0)
        {
            DeleteIfThere(temporary);
            Directory.CreateDirectory(temporary);
        }

        world.Barrier().Wait();
        if (!Directory.Exists(temporary))
        {
            throw new IOException($"{temporary}, which rank 0 made, is not here: with zero_stage all processes write to output_dir, which must lie on a disk that they share.");
        }

        Write([values], copies =>
        {
            void WriteOwn(string folder) => SafetensorsWriter.Write(Path.Combine(folder, ShardIndex.FileOf(world.Rank, world.Size)), copies[0]);
            if (world.Rank > 0)
            {
                WriteOwn(temporary);
                return;
            }

            Commit(name, folder =>
            {
                WriteOwn(folder);
                ShardIndex.Write(folder, world.Size, index, patience);
                end(folder);
            });
        });
    }

    private static void End(string folder, TrainingState state, RunLog log)
    {
        AtomicFile.WriteText(Path.Combine(folder, StateFile), JsonSerializer.Serialize(state, Json));
        log.Sync(); // What is logged up to here is not logged again by a run that resumes here.
    }

    /// <summary>Lets a folder be filled under another name, and gives it its own when it is whole.</summary>
    private void Commit(string name, Action<string> fill)
    {
        string temporary = Hidden(name);
        try
        {
            fill(temporary);
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
    public static TrainingState Restore(string folder, IReadOnlyList<Parameter> parameters, IReadOnlyDictionary<string, Tensor> optimizer) =>
        Restore(folder, [.. parameters.Select(WholeOf)], optimizer);

    /// <summary>Puts what a checkpoint has of some parts and their states into them, whoever wrote it.</summary>
    /// <exception cref="InvalidDataException">The checkpoint is damaged.</exception>
    public static TrainingState Restore(string folder, IReadOnlyList<ParameterPart> parts, IReadOnlyDictionary<string, Tensor> optimizer)
    {
        try
        {
            using StoredValues values =
                File.Exists(Path.Combine(folder, ShardIndex.FileName)) ? StoredValues.Sharded(folder)
                : File.Exists(Path.Combine(folder, AdapterFolder.ConfigFile)) ? StoredValues.Whole(folder, AdapterFolder.WeightsFile, OptimizerFile)
                : StoredValues.Whole(folder, WeightsFile, OptimizerFile);
            Dictionary<string, ParameterPart> byName = parts.ToDictionary(part => part.Name);
            foreach (ParameterPart part in parts)
            {
                values.Fill(part);
            }

            foreach ((string name, Tensor state) in optimizer)
            {
                values.Fill(byName[name[..name.LastIndexOf('.')]], name, state);
            }

            TrainingState? read = DamagedCheckpoint.ReadJson<TrainingState>(Path.Combine(folder, StateFile), Json);
            return read is { Step: > 0 } ? read : throw new InvalidDataException($"{StateFile} counts no steps.");
        }
        catch (Exception exception) when (exception is InvalidDataException or FileNotFoundException)
        {
            throw DamagedCheckpoint.At(folder, exception);
        }
    }

    /// <summary>Puts the best weights back, where there are any.</summary>
    public void RestoreBest(IReadOnlyList<Parameter> parameters) => RestoreBest([.. parameters.Select(WholeOf)]);

    /// <summary>Puts what the best weights have of some parts into them, where there are any.</summary>
    public void RestoreBest(IReadOnlyList<ParameterPart> parts)
    {
        string sharded = Path.Combine(outputDir, Best);
        using StoredValues? values = Directory.Exists(sharded) ? StoredValues.Sharded(sharded)
            : File.Exists(Path.Combine(outputDir, BestFile)) ? StoredValues.Whole(outputDir, BestFile)
            : null;
        foreach (ParameterPart part in values is null ? [] : parts)
        {
            values!.Fill(part);
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

    private static IEnumerable<KeyValuePair<string, Tensor>> Named(IEnumerable<ParameterPart> parts) => parts.Select(part => KeyValuePair.Create(part.Name, part.Value));

    private static ParameterPart WholeOf(Parameter parameter) => new(parameter.Name, parameter.Value, 0, parameter.Value.NumberOfElements);

    private IEnumerable<(int Step, string Folder)> All() => Directory.Exists(outputDir)
        ? Directory.EnumerateDirectories(outputDir, "checkpoint-*")
            .Select(folder => (int.TryParse(Path.GetFileName(folder)["checkpoint-".Length..], CultureInfo.InvariantCulture, out int step) ? step : -1, folder))
            .Where(item => item.Item1 >= 0).OrderBy(item => item.Item1)
        : [];
}

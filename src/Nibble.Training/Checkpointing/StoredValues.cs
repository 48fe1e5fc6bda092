using Nibble.Kernels;
using Nibble.Modeling.Adapters;
using Nibble.Modeling.Checkpoints;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Training.Checkpointing;

/// <summary>A parameter, or the part of it that this process keeps.</summary>
/// <param name="Name">The parameter's name.</param>
/// <param name="Value">The part's values.</param>
/// <param name="Start">Its first element.</param>
/// <param name="Total">Elements of the parameter.</param>
internal sealed record ParameterPart(string Name, Tensor Value, long Start, long Total);

/// <summary>The values of a checkpoint, in one piece or in the shards of any number of ranks, of which any part can be read.</summary>
internal sealed class StoredValues : IDisposable
{
    private readonly string location;
    private readonly List<SafetensorsFile> files = [];
    private readonly ShardIndex? shards;

    private StoredValues(string location, IEnumerable<string> paths, ShardIndex? shards)
    {
        this.location = location;
        this.shards = shards;
        try
        {
            files.AddRange(paths.Select(SafetensorsFile.Open));
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Opens files that have whole parameters.</summary>
    /// <exception cref="InvalidDataException">One is damaged.</exception>
    public static StoredValues Whole(string folder, params string[] names) => new(folder, names.Select(name => Path.Combine(folder, name)), shards: null);

    /// <summary>Opens the files that an index names.</summary>
    /// <exception cref="InvalidDataException">One is missing or damaged.</exception>
    public static StoredValues Sharded(string folder)
    {
        var index = ShardIndex.Read(folder);
        return new StoredValues(folder, Enumerable.Range(0, index.Bytes.Count).Select(rank => Path.Combine(folder, ShardIndex.FileOf(rank, index.Bytes.Count))), index);
    }

    /// <summary>Reads a part's values.</summary>
    public void Fill(ParameterPart part) => Fill(part, part.Name, part.Value);

    /// <summary>Reads a part's optimizer state.</summary>
    /// <param name="part">The part.</param>
    /// <param name="name">The state.</param>
    /// <param name="state">An element for each of the part's, or for each block of <see cref="AdamW.StateBlock"/>.</param>
    /// <exception cref="InvalidDataException">There is none, or it is of another size or dtype.</exception>
    public void Fill(ParameterPart part, string name, Tensor state)
    {
        using IDisposable noGrad = no_grad();
        using DisposeScope scope = NewDisposeScope();
        long count = part.Value.NumberOfElements;
        long each = state.NumberOfElements == count ? 1 : AdamW.StateBlock;
        Tensor target = state.view(-1);
        long filled = 0;
        foreach ((SafetensorsFile file, string stored, long start, long length) in PiecesOf(part, name))
        {
            long from = Math.Max(start, part.Start);
            long to = Math.Min(start + length, part.Start + count);
            if (from < to)
            {
                Tensor values = file.View(stored);
                if (values.NumberOfElements != (length + each - 1) / each || values.dtype != state.dtype)
                {
                    throw DoesNotFit(name);
                }

                long elements = (to - from + each - 1) / each;
                target.narrow(0, (from - part.Start) / each, elements).copy_(values.view(-1).narrow(0, (from - start) / each, elements));
                file.Release(stored);
                filled += to - from;
            }
        }

        if (filled != count)
        {
            throw DoesNotFit(name);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => files.ForEach(file => file.Dispose());

    /// <summary>Where a tensor is, and what it is called there: an adapter's weights have PEFT's names.</summary>
    private IEnumerable<(SafetensorsFile File, string Name, long Start, long Length)> PiecesOf(ParameterPart part, string name)
    {
        if (shards is null)
        {
            (SafetensorsFile? file, string stored) = files.SelectMany(file => new[] { (file, name), (file, AdapterFolder.Prefix + name) })
                .FirstOrDefault(item => item.file.Tensors.ContainsKey(item.Item2));
            return file is null ? throw DoesNotFit(name) : [(file, stored, 0, part.Total)];
        }

        return shards.Parts.TryGetValue(part.Name, out IReadOnlyList<ShardIndex.Part>? pieces) && pieces.Sum(piece => piece.Count) == part.Total
            ? pieces.Select(piece => (files[piece.Rank], name, piece.Start, piece.Count))
            : throw DoesNotFit(name);
    }

    private InvalidDataException DoesNotFit(string name) => new($"{location}: '{name}' does not fit this run.");
}

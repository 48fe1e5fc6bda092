using Nibble.Modeling.Decoder;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Modeling.Adapters;

/// <summary>
/// A LoRA adapter attached to a model: a pair of small matrices on each targeted layer, and whole modules that learn beside
/// them. Disposing it takes it off the model.
/// </summary>
public sealed class LoraAdapter : IDisposable
{
    private readonly SortedDictionary<string, (LinearLayer Layer, LoraPair Pair)> pairs = new(StringComparer.Ordinal);
    private readonly List<Parameter> saved = [];

    private LoraAdapter(LoraConfig config) => Config = config.Validated();

    /// <summary>The settings it was made with.</summary>
    public LoraConfig Config { get; }

    /// <summary>The pairs by the path of their layer.</summary>
    public IEnumerable<(string Path, LoraPair Pair)> Pairs => pairs.Select(item => (item.Key, item.Value.Pair));

    /// <summary>Parameters of the modules that are trained whole, under their base model's names.</summary>
    public IReadOnlyList<Parameter> SavedModules => saved;

    /// <summary>Everything that learns, in a fixed order; pairs carry PEFT's names.</summary>
    public IEnumerable<Parameter> Parameters =>
        pairs.SelectMany(item => new[]
        {
            new Parameter($"{item.Key}.lora_A.weight", item.Value.Pair.A, Decays: true),
            new Parameter($"{item.Key}.lora_B.weight", item.Value.Pair.B, Decays: true),
        }).Concat(saved);

    /// <summary>A new adapter on <paramref name="model"/>: A kaiming-uniform with a = √5, B zero, so that it changes nothing yet.</summary>
    /// <param name="model">The model; must outlive the adapter.</param>
    /// <param name="config">The settings.</param>
    /// <param name="seed">Decides the initial values.</param>
    /// <exception cref="ArgumentException">A target names no layer of the model.</exception>
    public static LoraAdapter Create(DecoderModel model, LoraConfig config, ulong seed)
    {
        using var random = new Generator(seed, CPU);
        return Attach(model, config, layer =>
        {
            double bound = 1 / Math.Sqrt(layer.Weight.InFeatures);
            using Scalar width = 2 * bound; // Named, or the collector may free them while libtorch reads them.
            using Scalar half = bound;
            Tensor a = rand([config.R, layer.Weight.InFeatures], ScalarType.Float32, generator: random).mul_(width).sub_(half);
            return (a.to(model.Device), zeros(layer.Weight.OutFeatures, config.R, ScalarType.Float32, model.Device));
        });
    }

    /// <summary>An adapter with given values on <paramref name="model"/>.</summary>
    /// <param name="model">The model; must outlive the adapter.</param>
    /// <param name="config">The settings.</param>
    /// <param name="values">Gives A and B of a layer; they become the adapter's.</param>
    internal static LoraAdapter Attach(DecoderModel model, LoraConfig config, Func<LinearLayer, (Tensor A, Tensor B)> values)
    {
        RequireTargets(model, config);
        var adapter = new LoraAdapter(config);
        try
        {
            foreach (LinearLayer layer in model.Linears.Where(layer => config.Targets(layer.Name)))
            {
                (Tensor a, Tensor b) = values(layer);
                var pair = new LoraPair(
                    a.DetachFromDisposeScope().requires_grad_(), b.DetachFromDisposeScope().requires_grad_(), config.Scale, (float)config.LoraDropout);
                adapter.pairs.Add(layer.Name, (layer, pair));
                layer.Attach(pair);
            }

            foreach (string module in model.ModuleNames.Where(name => config.ModulesToSave.Any(wanted => name.EndsWith(wanted, StringComparison.Ordinal))).ToList())
            {
                adapter.saved.AddRange(model.Unfreeze(module));
            }
        }
        catch
        {
            adapter.Dispose();
            throw;
        }

        return adapter;
    }

    /// <summary>The weight of a layer with its update added: <c>W + scale · B · A</c>, float32 <c>[N, K]</c>.</summary>
    public static Tensor Merged(LinearLayer layer)
    {
        ArgumentNullException.ThrowIfNull(layer);
        using IDisposable noGrad = no_grad();
        using DisposeScope scope = NewDisposeScope();
        Tensor weight = layer.Weight.Dequantize(ScalarType.Float32);
        if (layer.Adapter is { } pair)
        {
            using Scalar scale = pair.Scale; // Named, or the collector may free it while libtorch reads it.
            weight.add_(pair.B.matmul(pair.A), scale);
        }

        return weight.MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach ((LinearLayer layer, LoraPair pair) in pairs.Values)
        {
            layer.Attach(null);
            pair.A.Dispose();
            pair.B.Dispose();
        }

        pairs.Clear();
    }

    private static void RequireTargets(DecoderModel model, LoraConfig config)
    {
        List<string> linears = [.. model.Linears.Select(layer => layer.Name)];
        string? unknown = config.TargetModules.FirstOrDefault(
            target => target != LoraConfig.AllLinear && !linears.Any(name => LoraConfig.EndsWithModule(name, target)));
        if (unknown is not null)
        {
            throw new ArgumentException(
                $"target_modules names '{unknown}', which no linear layer of this model is called; it has {string.Join(", ", linears.Select(name => name.Split('.')[^1]).Distinct())}.");
        }

        if (config.LayersToTransform?.FirstOrDefault(layer => layer < 0 || layer >= model.Config.NumHiddenLayers, -1) is { } outside and not -1)
        {
            throw new ArgumentException($"layers_to_transform names layer {outside}, but this model has layers 0 to {model.Config.NumHiddenLayers - 1}.");
        }

        List<string> modules = [.. model.ModuleNames];
        if (config.ModulesToSave.FirstOrDefault(wanted => !modules.Any(name => name.EndsWith(wanted, StringComparison.Ordinal))) is { } missing)
        {
            throw new ArgumentException($"modules_to_save names '{missing}', which this model does not have.");
        }

        if (config.ModulesToSave.FirstOrDefault(wanted => modules.Any(name => name.EndsWith(wanted, StringComparison.Ordinal) && config.Targets(name))) is { } both)
        {
            throw new ArgumentException($"'{both}' is in target_modules and in modules_to_save; a module is adapted or trained whole, not both.");
        }
    }
}

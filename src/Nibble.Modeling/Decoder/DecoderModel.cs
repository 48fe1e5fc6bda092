using System.Globalization;
using System.Text.RegularExpressions;
using Nibble.Kernels;
using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Configuration;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Modeling.Decoder;

/// <summary>
/// A decoder-only transformer, driven by its configuration. It owns its tensors; what its methods return belongs to the
/// dispose scope of the caller.
/// </summary>
public sealed partial class DecoderModel : IDisposable
{
    private readonly RotaryTable rotary;
    private readonly NormLayer norm;
    private readonly DecoderLayer[] layers;
    private Tensor embedding;

    internal DecoderModel(DecoderConfig config, ScalarType computeDType, DecoderParts parts)
    {
        Config = config;
        ComputeDType = computeDType;
        rotary = new RotaryTable(new RotaryFrequencies(config.Rope, config.HeadDim));
        embedding = parts.Embedding("model.embed_tokens", config.VocabSize, config.HiddenSize);
        layers = [.. Enumerable.Range(0, config.NumHiddenLayers).Select(layer => new DecoderLayer(config, layer, parts))];
        norm = parts.Norm("model.norm", config.HiddenSize, config.RmsNormEps);
        Head = config.TieWordEmbeddings
            ? new LinearLayer("lm_head", 0, new DenseWeight(embedding), bias: null)
            : parts.Head("lm_head", config.VocabSize, config.HiddenSize);
    }

    /// <summary>What the model is made of.</summary>
    public DecoderConfig Config { get; }

    /// <summary>The dtype of activations.</summary>
    public ScalarType ComputeDType { get; }

    /// <summary>Where the weights lie and computation runs.</summary>
    public Device Device => embedding.device;

    /// <summary>The output head; shares the embedding's tensor where the configuration ties them.</summary>
    public LinearLayer Head { get; }

    /// <summary>Every linear layer of the decoder layers, in order; the output head is not among them.</summary>
    public IEnumerable<LinearLayer> Linears => layers.SelectMany(layer => layer.Linears);

    /// <summary>
    /// How many layers keep their activations from the forward to the backward pass; the others, which are the first, keep their input
    /// and are computed again. Gradients are the same to the bit.
    /// </summary>
    public int LayersThatKeepActivations { get; set; }

    /// <summary>
    /// Is called before weights are read, with the number of their unit and of the one that is read next, if any. Unit 0 is the embedding,
    /// unit i + 1 is layer i, and the last one has the final norm and the head; a tied head makes it one with unit 0. Layers that keep their
    /// activations do not ask.
    /// </summary>
    public Action<int, int?>? UnitNeeded { get; set; }

    /// <summary>
    /// Is called in a backward pass with the number of a layer's unit whose parameters, adapters too, have received their gradients. Units are
    /// finished from the last to the first; those of layers that keep their activations, and the last one if it is not 0, are by the time
    /// that another one is.
    /// </summary>
    public Action<int>? UnitFinished { get; set; }

    /// <summary>The unit of a parameter of this model or of its adapter.</summary>
    public int UnitOf(string parameter) =>
        LayerNumber().Match(parameter) is { Success: true } match ? int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture) + 1
        : parameter.Contains("embed_tokens", StringComparison.Ordinal) ? 0
        : LastUnit;

    /// <summary>With what one pass calls <see cref="UnitNeeded"/>, forward and, in training, backward, where each unit is finished then.</summary>
    public IEnumerable<(int Unit, int? Next, bool Backward)> UnitsOfPass(bool training)
    {
        int count = layers.Length;
        IEnumerable<(int, int?, bool)> forward = Enumerable.Range(0, count + 1).Select(unit => (unit, (int?)Above(unit), false)).Append((LastUnit, training ? count : null, false));
        return training ? forward.Concat(Enumerable.Range(0, count).Select(i => (count - i, Below(count - i), true))) : forward;
    }

    private int LastUnit => HeadIsTied ? 0 : layers.Length + 1;

    private int Above(int unit) => unit < layers.Length ? unit + 1 : LastUnit;

    private static int? Below(int unit) => unit > 1 ? unit - 1 : null;

    [GeneratedRegex(@"\blayers\.(\d+)\.")]
    private static partial Regex LayerNumber();

    /// <summary>Parameters of the base model that learn; adapters have theirs on their own.</summary>
    public IEnumerable<Parameter> Parameters
    {
        get
        {
            IEnumerable<Parameter> own = embedding.requires_grad ? [new Parameter("model.embed_tokens.weight", embedding, Decays: true)] : [];
            IEnumerable<Parameter> head = HeadIsTied ? [] : Head.Parameters;
            return own
                .Concat(layers.SelectMany(layer => layer.Linears.SelectMany(linear => linear.Parameters).Concat(layer.Norms.SelectMany(item => item.Parameters))))
                .Concat(norm.Parameters)
                .Concat(head);
        }
    }

    /// <summary>Every module that can be named in <c>modules_to_save</c>, by path.</summary>
    public IEnumerable<string> ModuleNames =>
        Linears.Select(linear => linear.Name)
            .Concat(layers.SelectMany(layer => layer.Norms).Select(item => item.Name))
            .Concat(["model.norm", "model.embed_tokens", "lm_head"]);

    /// <summary>Number of elements of the base model, adapters not counted.</summary>
    public long ParameterCount =>
        embedding.NumberOfElements + (HeadIsTied ? 0 : Count(Head)) + norm.Weight.NumberOfElements
        + layers.Sum(layer => layer.Linears.Sum(Count) + layer.Norms.Sum(item => item.Weight.NumberOfElements));

    /// <summary>Bytes that the weights occupy, adapters not counted.</summary>
    public long WeightBytes =>
        (embedding.NumberOfElements * embedding.ElementSize) + (HeadIsTied ? 0 : Head.Weight.Bytes) + layers.Sum(layer => layer.Linears.Sum(linear => linear.Weight.Bytes));

    private bool HeadIsTied => Head.Weight is DenseWeight dense && ReferenceEquals(dense.Values, embedding);

    /// <summary>Makes every weight learn (full fine-tuning), as float32 masters.</summary>
    /// <param name="except">Patterns of modules that stay frozen (<see cref="NamePatterns"/>); a head tied to the embedding goes with it.</param>
    /// <exception cref="ArgumentException">A pattern matches no module, or nothing is left to learn.</exception>
    public void UnfreezeAll(params IReadOnlyList<string> except) => UnfreezeAll(except, ScalarType.Float32, ScalarType.Float32);

    /// <summary>Makes every weight learn, for a trainer that keeps the masters itself, or needs none.</summary>
    /// <param name="except">As above.</param>
    /// <param name="layers">Dtype of the layers' linear weights; norms are float32, in which kernels read them.</param>
    /// <param name="vocabulary">Dtype of embedding and head.</param>
    /// <exception cref="ArgumentException">As above.</exception>
    public void UnfreezeAll(IReadOnlyList<string> except, ScalarType layers, ScalarType vocabulary)
    {
        List<string> modules = [.. ModuleNames.Where(name => name != "lm_head" || !HeadIsTied)];
        NamePatterns.Require("training.freeze", except, modules);
        if (modules.RemoveAll(name => except.Any(pattern => NamePatterns.Matches(pattern, name))) > 0 && modules.Count == 0)
        {
            throw new ArgumentException("training.freeze leaves nothing to learn.");
        }

        foreach (string module in modules)
        {
            Unfreeze(module, module.StartsWith("model.layers.", StringComparison.Ordinal) ? layers : vocabulary);
        }
    }

    /// <summary>Makes one module learn; an output head tied to the embedding gets a weight of its own.</summary>
    /// <returns>Its parameters.</returns>
    /// <exception cref="ArgumentException">The model has no such module.</exception>
    public IReadOnlyList<Parameter> Unfreeze(string module) => Unfreeze(module, ScalarType.Float32);

    private IReadOnlyList<Parameter> Unfreeze(string module, ScalarType dtype)
    {
        if (module == "model.embed_tokens")
        {
            UnfreezeEmbedding(dtype);
            return [new Parameter("model.embed_tokens.weight", embedding, Decays: true)];
        }

        if (module == "lm_head" && HeadIsTied)
        {
            Head.Replace(embedding.detach().to(dtype, copy: true), newBias: null);
            return [.. Head.Parameters];
        }

        if (Linears.Append(Head).FirstOrDefault(linear => linear.Name == module) is { } found)
        {
            LinearWeight old = found.Weight;
            found.Unfreeze(dtype);
            if (!ReferenceEquals(old, found.Weight))
            {
                old.Dispose();
            }

            return [.. found.Parameters];
        }

        NormLayer layer = layers.SelectMany(item => item.Norms).Append(norm).FirstOrDefault(item => item.Name == module)
            ?? throw new ArgumentException($"The model has no module '{module}'.");
        layer.Unfreeze();
        return [.. layer.Parameters];
    }

    /// <summary>Every weight of the base model with its checkpoint name.</summary>
    /// <param name="dtype">As what they are to be written; each is made on the CPU, dequantised, when its turn comes.</param>
    /// <param name="linearWeight">Overrides how a linear layer's weight is taken, in float32; null for its plain values.</param>
    internal IEnumerable<TensorToWrite> Weights(ScalarType dtype, Func<LinearLayer, Tensor>? linearWeight = null)
    {
        linearWeight ??= linear => linear.Weight.Dequantize(ScalarType.Float32);
        TensorToWrite Plain(string name, Tensor value) => new(name, dtype, value.shape, () =>
        {
            using Tensor frozen = value.detach();
            return frozen.to(dtype, CPU);
        });

        IEnumerable<TensorToWrite> OfLinear(LinearLayer linear)
        {
            yield return new TensorToWrite($"{linear.Name}.weight", dtype, [linear.Weight.OutFeatures, linear.Weight.InFeatures], () =>
            {
                using IDisposable noGrad = no_grad();
                using Tensor values = linearWeight(linear);
                return values.to(dtype, CPU);
            });
            if (linear.Bias is { } bias)
            {
                yield return Plain($"{linear.Name}.bias", bias);
            }
        }

        return layers.SelectMany(layer => layer.Linears.SelectMany(OfLinear).Concat(layer.Norms.Select(item => Plain($"{item.Name}.weight", item.Weight))))
            .Prepend(Plain("model.embed_tokens.weight", embedding))
            .Append(Plain($"{norm.Name}.weight", norm.Weight))
            .Concat(HeadIsTied ? [] : OfLinear(Head));
    }

    /// <summary>Hidden states after the last norm.</summary>
    /// <param name="batch">The tokens; with a cache, only those it has not seen.</param>
    /// <param name="cache">Keys and values of earlier tokens; it takes up the new ones.</param>
    /// <param name="dropout">Present in training.</param>
    /// <returns><c>[tokens, hidden]</c> of the compute dtype.</returns>
    /// <exception cref="ArgumentException">A token is outside the vocabulary.</exception>
    public Tensor Forward(TokenBatch batch, KvCache? cache = null, DropoutState? dropout = null)
    {
        ArgumentNullException.ThrowIfNull(batch);
        foreach (int id in batch.InputIds)
        {
            if ((uint)id >= (uint)Config.VocabSize)
            {
                throw new ArgumentException($"Token id {id} is outside the model's vocabulary of {Config.VocabSize}; the tokenizer does not fit the model.");
            }
        }

        ForwardContext context = Context(batch, cache, dropout);
        UnitNeeded?.Invoke(0, Above(0));
        Tensor hidden = Embed(batch.InputIds);
        bool inputLearns = hidden.requires_grad;
        if (is_grad_enabled() && !inputLearns)
        {
            // Recomputation hangs on the graph of its input: without this, a frozen embedding would cut the adapters off.
            hidden.requires_grad_();
        }

        for (int i = 0; i < layers.Length; i++)
        {
            int unit = i + 1;
            DecoderLayer layer = layers[i];
            hidden = i < layers.Length - LayersThatKeepActivations
                ? Recompute.Apply(hidden, (x, outputNeeded) => Run(unit, layer, x, context, again: !outputNeeded), inputLearns, () => UnitFinished?.Invoke(unit))
                : Keep(layer, hidden, context);
            inputLearns = true;
        }

        cache?.Advance(batch.Lengths);
        UnitNeeded?.Invoke(LastUnit, is_grad_enabled() ? layers.Length : null);
        return norm.Forward(hidden);
    }

    /// <summary>Runs a layer, in the forward pass or, when its values are not needed any more, again in the backward pass.</summary>
    private Tensor Run(int unit, DecoderLayer layer, Tensor x, ForwardContext context, bool again)
    {
        UnitNeeded?.Invoke(unit, again ? Below(unit) : Above(unit));
        return layer.Forward(x, context, outputNeeded: !again);
    }

    /// <summary>Runs a layer whose graph stays: it holds what its backward pass needs, and nothing else does.</summary>
    private static Tensor Keep(DecoderLayer layer, Tensor x, ForwardContext context)
    {
        using DisposeScope scope = NewDisposeScope();
        return layer.Forward(x, context, outputNeeded: true).MoveToOuterDisposeScope();
    }

    /// <summary>The tokens' rows of the embedding.</summary>
    private Tensor Embed(int[] inputIds)
    {
        using Profiler.Scope measured = Profiler.Operator("Embedding");
        return Embedding.Apply(embedding, tensor(inputIds, ScalarType.Int64, Device)).to(ComputeDType);
    }

    /// <summary>Scores of every token of the vocabulary.</summary>
    /// <param name="hidden"><c>[tokens, hidden]</c> as <see cref="Forward"/> gives them.</param>
    /// <returns>float32 <c>[tokens, vocab]</c>.</returns>
    public Tensor Logits(Tensor hidden)
    {
        ArgumentNullException.ThrowIfNull(hidden);
        return Head.Trains
            ? nn.functional.linear(hidden, ((DenseWeight)Head.Weight).Values.to(hidden.dtype)).to(ScalarType.Float32)
            : Linear.Apply(hidden, Head.Weight).to(ScalarType.Float32);
    }

    /// <summary>Negative log-likelihood of every label, the logits never being formed.</summary>
    /// <param name="batch">Tokens and labels; without labels every token is the target of the one before it.</param>
    /// <param name="dropout">Present in training.</param>
    /// <returns>float32 <c>[tokens]</c>: element t is the loss of predicting token t + 1, 0 where there is no label.</returns>
    public Tensor TokenLosses(TokenBatch batch, DropoutState? dropout = null)
    {
        Tensor hidden = Forward(batch, cache: null, dropout);
        return LinearCrossEntropy.Apply(hidden, Head.Weight, tensor(batch.ShiftedLabels(), ScalarType.Int64, Device));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (DecoderLayer layer in layers)
        {
            layer.Dispose();
        }

        rotary.Dispose();
        norm.Dispose();
        Head.Dispose();
        embedding.Dispose();
    }

    private static long Count(LinearLayer linear) => (linear.Weight.OutFeatures * linear.Weight.InFeatures) + (linear.Bias?.NumberOfElements ?? 0);

    /// <summary>A tied head follows the embedding to its master.</summary>
    private void UnfreezeEmbedding(ScalarType dtype)
    {
        if (embedding.requires_grad)
        {
            return;
        }

        bool tied = HeadIsTied;
        Tensor frozen = embedding;
        using Tensor values = frozen.detach();
        embedding = values.to(dtype, copy: true).DetachFromDisposeScope().requires_grad_();
        if (tied)
        {
            Head.Replace(embedding, newBias: null);
        }

        frozen.Dispose();
    }

    private ForwardContext Context(TokenBatch batch, KvCache? cache, DropoutState? dropout)
    {
        (Tensor cos, Tensor sin) = rotary.Rows([.. batch.Lengths.Select((length, sequence) => (First(sequence), First(sequence) + length))], Device);
        return new ForwardContext
        {
            Lengths = batch.Lengths,
            Cos = cos,
            Sin = sin,
            Cache = cache,
            Dropout = dropout,
        };

        int First(int sequence) => cache?.Lengths[sequence] ?? 0;
    }
}

using Nibble.Kernels;
using Nibble.Modeling.Configuration;
using static TorchSharp.torch;

namespace Nibble.Modeling.Decoder;

/// <summary>One pre-norm transformer layer: attention and a gated feed-forward block, each added to the residual stream.</summary>
internal sealed class DecoderLayer : IDisposable
{
    public DecoderLayer(DecoderConfig config, int layer, DecoderParts parts)
    {
        string path = $"model.layers.{layer}";
        InputNorm = parts.Norm($"{path}.input_layernorm", config.HiddenSize, config.RmsNormEps);
        Attention = new AttentionBlock(config, layer, parts);
        PostAttentionNorm = parts.Norm($"{path}.post_attention_layernorm", config.HiddenSize, config.RmsNormEps);
        Gate = parts.Linear($"{path}.mlp.gate_proj", config.IntermediateSize, config.HiddenSize, config.MlpBias);
        Up = parts.Linear($"{path}.mlp.up_proj", config.IntermediateSize, config.HiddenSize, config.MlpBias);
        Down = parts.Linear($"{path}.mlp.down_proj", config.HiddenSize, config.IntermediateSize, config.MlpBias);
    }

    public NormLayer InputNorm { get; }

    public AttentionBlock Attention { get; }

    public NormLayer PostAttentionNorm { get; }

    public LinearLayer Gate { get; }

    public LinearLayer Up { get; }

    public LinearLayer Down { get; }

    public IEnumerable<LinearLayer> Linears => [Attention.Query, Attention.Key, Attention.Value, Attention.Output, Gate, Up, Down];

    public IEnumerable<NormLayer> Norms =>
        new[] { InputNorm, Attention.QueryNorm, Attention.KeyNorm, PostAttentionNorm }.OfType<NormLayer>();

    /// <summary>x and the result: <c>[tokens, hidden]</c>; the result's values may be anything where only its graph is needed.</summary>
    public Tensor Forward(Tensor x, ForwardContext context, bool outputNeeded)
    {
        (Tensor stream, Tensor input) = InputNorm.ForwardBeside(x);
        (Tensor attended, Tensor normed) = PostAttentionNorm.ForwardSum(stream, Attention.Forward(input, context));
        IReadOnlyList<Tensor> gateAndUp = LinearLayer.ForwardAll(normed, context, Gate, Up);
        return Down.ForwardSum(attended, SwiGlu.Apply(gateAndUp[0], gateAndUp[1]), context, outputNeeded);
    }

    public void Dispose()
    {
        InputNorm.Dispose();
        Attention.Dispose();
        PostAttentionNorm.Dispose();
        Gate.Dispose();
        Up.Dispose();
        Down.Dispose();
    }
}

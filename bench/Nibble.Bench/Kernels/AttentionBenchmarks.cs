using BenchmarkDotNet.Attributes;
using Nibble.Kernels;
using static TorchSharp.torch;

namespace Nibble.Bench.Kernels;

/// <summary>
/// Causal attention over 1024 tokens, 32 heads on 8 key-value heads of 64, bfloat16: one sequence, or several packed behind each other.
/// The peer is libtorch's scaled_dot_product_attention on heads spread beforehand, with a mask where it needs one. Rates count what
/// lies under the diagonals of the sequences: two products forward, five backward.
/// </summary>
public class AttentionBenchmarks : ComputeBenchmark
{
    private const int Tokens = 1024;
    private const int Heads = 32;
    private const int KeyValueHeads = 8;
    private const int HeadDim = 64;

    private static readonly Dictionary<string, int[]> Sequences = new()
    {
        ["1024"] = [1024],
        ["4 x 256"] = [256, 256, 256, 256],
        ["512 + 350 + 162"] = [512, 350, 162],
    };

    private Tensor query = null!;
    private Tensor key = null!;
    private Tensor value = null!;
    private Tensor gradient = null!;
    private Tensor spreadQuery = null!;
    private Tensor spreadKey = null!;
    private Tensor spreadValue = null!;
    private Tensor spreadGradient = null!;
    private Tensor? mask;

    [Params("1024", "4 x 256", "512 + 350 + 162")]
    public string Packed { get; set; } = "";

    [Params(false, true)]
    public bool Backward { get; set; }

    private int[] Lengths => Sequences[Packed];

    [GlobalSetup]
    public void Setup()
    {
        Cpu.Threads = Threads;
        query = Random(Heads);
        key = Random(KeyValueHeads);
        value = Random(KeyValueHeads);
        gradient = randn(Tokens, Heads, HeadDim).to(ScalarType.BFloat16);
        spreadQuery = Spread(query);
        spreadKey = Spread(key);
        spreadValue = Spread(value);
        spreadGradient = gradient.transpose(0, 1).unsqueeze(0).contiguous();
        mask = Lengths.Length == 1 ? null : block_diag([.. Lengths.Select(length => ones(length, length).tril())]).to(ScalarType.Bool);
    }

    [Benchmark(Baseline = true)]
    public void LibtorchAttention()
    {
        using Tensor y = nn.functional.scaled_dot_product_attention(spreadQuery, spreadKey, spreadValue, mask!, 0.0, is_casual: mask is null);
        Finish(y, spreadGradient, spreadQuery, spreadKey, spreadValue);
    }

    [Benchmark]
    public void PackedCausalAttention()
    {
        using Tensor y = CausalAttention.Apply(query, key, value, Lengths);
        Finish(y, gradient, query, key, value);
    }

    private protected override double Operations(string method) =>
        (Backward ? 7 : 2) * Lengths.Sum(length => (double)length * length) * Heads * HeadDim;

    private Tensor Random(int heads) => randn(Tokens, heads, HeadDim).to(ScalarType.BFloat16).requires_grad_(Backward);

    private Tensor Spread(Tensor heads) =>
        heads.detach().repeat_interleave(Heads / heads.shape[1], dim: 1).transpose(0, 1).unsqueeze(0).contiguous().requires_grad_(Backward);

    private void Finish(Tensor y, Tensor slope, params Tensor[] inputs)
    {
        if (Backward)
        {
            BackwardPass.Run(y, slope);
            foreach (Tensor input in inputs)
            {
                input.grad = null;
            }
        }
    }
}

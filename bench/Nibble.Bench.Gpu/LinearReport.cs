using System.Globalization;
using Nibble.Kernels;
using static TorchSharp.torch;

namespace Nibble.Bench.Gpu;

/// <summary>
/// The NF4 linear layer in bfloat16, bare and with an adapter, against TorchSharp's own: on ready weights, and on weights
/// dequantised at each use, as bitsandbytes does when it trains.
/// </summary>
internal sealed class LinearReport(Device device, Clock clock, bool smoke)
{
    private const int Rank = 16;

    private sealed record Shape(string Layer, long Outputs, long Inputs);

    private Shape[] Shapes => smoke
        ? [new("smoke", 128, 64)]
        :
        [
            new("1B q/o", 2048, 2048), new("1B gate/up", 8192, 2048), new("1B down", 2048, 8192),
            new("8B q/o", 4096, 4096), new("8B gate/up", 14336, 4096), new("8B down", 4096, 14336),
        ];

    private long[] Rows => smoke ? [1, 16] : [1, 4, 8, 16, 64, 256, 1024, 4096];

    public void Print()
    {
        Console.WriteLine($"""

            ## NF4 linear layer, bf16

            Ours in microseconds; the others are ratios, their time over ours. "Training" is forward, gradient of the input and, with
            an adapter of rank {Rank} and dropout 0.1, its gradients; there TorchSharp's adapter is products of its own.

            | layer | M | forward | ready weights | dequantise + linear | training | ready weights | dequantise + linear | training with adapter | ready weights |
            |---|---|---|---|---|---|---|---|---|---|
            """);
        foreach (Shape shape in Shapes)
        {
            foreach (long rows in Rows)
            {
                PrintRow(shape, rows);
            }
        }
    }

    private void PrintRow(Shape shape, long rows)
    {
        using var scope = NewDisposeScope();
        using Nf4Weight weight = Nf4.Quantize(randn(shape.Outputs, shape.Inputs, device: device) * 0.02, doubleQuantize: true);
        Tensor ready = weight.Dequantize(ScalarType.BFloat16);
        Tensor x = Random(rows, shape.Inputs).to(ScalarType.BFloat16);
        Tensor leaf = x.clone().requires_grad_();
        Tensor gradient = Random(rows, shape.Outputs).to(ScalarType.BFloat16);
        (Tensor a, Tensor b) = (Random(Rank, shape.Inputs).requires_grad_(), Random(shape.Outputs, Rank).requires_grad_());
        var adapter = new LowRank(a, b, 1, new DropoutMask(0.1f, 1, 2, 3));

        double forward = clock.Seconds(() => Linear.Apply(x, weight));
        double forwardReady = clock.Seconds(() => nn.functional.linear(x, ready));
        double forwardDequantised = clock.Seconds(() => nn.functional.linear(x, weight.Dequantize(ScalarType.BFloat16)));
        double training = Training(() => Linear.Apply(leaf, weight));
        double trainingReady = Training(() => nn.functional.linear(leaf, ready));
        double trainingDequantised = Training(() =>
        {
            weight.Dequantize(ScalarType.BFloat16); // Once more, for backward.
            return nn.functional.linear(leaf, weight.Dequantize(ScalarType.BFloat16));
        });
        double adapted = Training(() => Linear.Apply(leaf, weight, update: adapter));
        double adaptedReady = Training(() =>
        {
            Tensor hidden = nn.functional.linear(nn.functional.dropout(leaf, 0.1), a.to(ScalarType.BFloat16));
            return nn.functional.linear(leaf, ready) + nn.functional.linear(hidden, b.to(ScalarType.BFloat16));
        });
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"| {shape.Layer} {shape.Outputs} x {shape.Inputs} | {rows} | {forward * 1e6:0.0} | {forwardReady / forward:0.00} | {forwardDequantised / forward:0.00} | {training * 1e6:0.0} | {trainingReady / training:0.00} | {trainingDequantised / training:0.00} | {adapted * 1e6:0.0} | {adaptedReady / adapted:0.00} |"));

        double Training(Func<Tensor> layer) => clock.Seconds(() =>
        {
            BackwardPass.Run(layer(), gradient);
            foreach (Tensor learned in (Tensor[])[leaf, a, b])
            {
                learned.grad = null;
            }
        });
    }

    private Tensor Random(long rows, long columns) => randn(rows, columns, device: device);
}

using System.Globalization;
using Nibble.Kernels;
using Nibble.Kernels.Paging;
using static TorchSharp.torch;

namespace Nibble.Bench.Gpu;

/// <summary>One AdamW step over float32 parameters, with states of 32 and 8 bits, resident and paged, against TorchSharp's.</summary>
internal sealed class OptimizerReport(Device device, Clock clock, bool smoke)
{
    public void Print()
    {
        using var scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        long count = smoke ? 4096 : 1 << 26;
        Tensor gradient = randn(count, device: device) * 0.01;
        using var parameter = nn.Parameter(randn(count, device: device));
        parameter.grad = gradient;
        var update = new AdamW(LearningRate: 1e-4, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, WeightDecay: 0.01, GradScale: 1, Step: 10);

        Console.WriteLine($"""

            ## AdamW, {count} parameters

            The ratio is TorchSharp's time over ours.

            | states | ms | TorchSharp |
            |---|---|---|
            """);
        using var peer = optim.AdamW([parameter], 1e-4);
        double theirs = clock.Seconds(() => peer.step());
        (Tensor moment1, Tensor moment2) = (zeros(count, device: device), zeros(count, device: device));
        PrintRow("32-bit", () => update.Update(parameter, gradient, moment1, moment2));
        AdamW.EightBitState state = AdamW.EightBitState.Zero(count, device);
        PrintRow("8-bit", () => update.Update(parameter, gradient, state));
        foreach (bool eightBit in new[] { false, true })
        {
            using PagedAdamW? paged = PagedAdamW.For([parameter], eightBit);
            if (paged is not null) // There are no pages on the CPU.
            {
                PrintRow(eightBit ? "8-bit, paged" : "32-bit, paged", () => paged.Update([gradient], _ => update));
            }
        }

        void PrintRow(string states, Action step)
        {
            double ours = clock.Seconds(step);
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"| {states} | {ours * 1e3:0.00} | {theirs / ours:0.00} |"));
        }
    }
}

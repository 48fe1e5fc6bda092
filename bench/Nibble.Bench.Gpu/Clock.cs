using System.Diagnostics;
using static TorchSharp.torch;

namespace Nibble.Bench.Gpu;

/// <summary>Times work on a device as its caller sees it, launches from .NET included.</summary>
internal sealed class Clock(Device device)
{
    private const int Samples = 9;
    private const double SampleSeconds = 5e-3;

    /// <summary>Seconds that a call takes: the median of nine samples of some milliseconds each.</summary>
    public double Seconds(Action call)
    {
        Of(call, 1); // Kernels are loaded, and memory is in libtorch's pool.
        int repetitions = Math.Max(1, (int)(SampleSeconds / Of(call, 1)));
        double[] samples = [.. Enumerable.Range(0, Samples).Select(_ => Of(call, repetitions)).Order()];
        return samples[Samples / 2];
    }

    private double Of(Action call, int repetitions)
    {
        Wait();
        var watch = Stopwatch.StartNew();
        for (int i = 0; i < repetitions; i++)
        {
            using var scope = NewDisposeScope();
            call();
        }

        Wait();
        return watch.Elapsed.TotalSeconds / repetitions;
    }

    private void Wait()
    {
        if (device.type == TorchSharp.DeviceType.CUDA)
        {
            cuda.synchronize(device);
        }
    }
}

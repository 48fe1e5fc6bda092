using Nibble.Bench.Gpu;
using Nibble.Kernels;
using Nibble.Kernels.Cuda;
using Nibble.Kernels.Runtime;
using TorchSharp;

// The report of one GPU, cuda:0 unless another is named. "smoke" makes it of small sizes on the CPU, to see that all is there.
bool smoke = args is ["smoke"];
try
{
    LibTorch.EnsureLoaded();
    torch.Device device = ComputeDevice.Choose(smoke ? "cpu" : args.FirstOrDefault("cuda:0"), Console.Error.WriteLine);
    Console.WriteLine($"# {(smoke ? "CPU, for a smoke test" : GpuReport.Read().Gpus[device.index])}");
    var clock = new Clock(device);
    new LinearReport(device, clock, smoke).Print();
    new OptimizerReport(device, clock, smoke).Print();
    return 0;
}
catch (Exception exception) when (exception is NotSupportedException or ArgumentException or CudaException or DllNotFoundException)
{
    Console.Error.WriteLine($"Nibble.Bench.Gpu: {exception.Message}");
    return 1;
}

using Nibble.Kernels;
using Nibble.Modeling.Configuration;
using Nibble.Training.Configuration;
using TorchSharp;

namespace Nibble.Training;

/// <summary>What to tell someone whose run has run out of memory.</summary>
internal static class MemoryAdvice
{
    /// <summary>One line: what failed, what takes most, and which settings would need less.</summary>
    public static string For(RunConfig config, int processes, string failure)
    {
        DecoderConfig model = ConfigReader.Read(config.Model);
        torch.Device device = ComputeDevice.Choose(config.Device, _ => { });
        long? gpuMemory = ComputeDevice.GpuMemory(device);
        long memory = gpuMemory ?? GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        var estimate = MemoryEstimate.Of(config, model, gpuMemory is not null, processes);
        // Where the estimate says that it fits, others use the memory, or it errs: then less is the only advice.
        var plan = MemoryPlan.Of(config, model, gpuMemory is not null, estimate.Total > memory ? memory : estimate.Total * 9 / 10, processes);
        string where = gpuMemory is null ? "this machine" : "the GPU";
        string others = estimate.Total <= memory ? ", so others may use it too" : "";
        return $"memory ran out: {failure.Split('\n')[0].TrimEnd('.', ' ')}. The run needs about {ByteSize.Format(estimate.Total)} ({estimate.Largest}); {where} has {ByteSize.Format(memory)}{others}. "
            + Proposal(config, plan);
    }

    private static string Proposal(RunConfig config, MemoryPlan plan)
    {
        if (plan.Changes.Count == 0)
        {
            return "No setting lowers that.";
        }

        string settings = string.Join(' ', plan.Changes.Select(change => $"--set {change.Key}={change.To}"));
        string needs = plan.Fits ? $"With {settings} it needs about {ByteSize.Format(plan.Least)}"
            : $"Nothing makes it fit into {ByteSize.Format(plan.Budget)}; the least possible is {ByteSize.Format(plan.Least)}, with {settings}";
        string how = plan.Changes.All(change => RunFolder.MayChange(change.Key, change.From, change.To))
            ? "the run can go on so with --resume."
            : "that is another run and needs another output_dir; checkpoints of this one stay, and --resume goes on from them where there is more memory.";
        return $"{needs}; {how}";
    }
}

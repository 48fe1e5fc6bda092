namespace Nibble.Bench.Distributed;

/// <summary>GPUs in nodes, as a simulation knows them.</summary>
/// <param name="FlopsPerGpu">bfloat16 operations a second that the layers' products reach.</param>
/// <param name="Node">GPUs in a node.</param>
/// <param name="InsideBytesPerSecond">Of one GPU to another of its node, one way.</param>
/// <param name="BetweenBytesPerSecond">Of one GPU to one of another node, one way.</param>
/// <param name="Latency">Seconds of one message.</param>
internal sealed record Cluster(double FlopsPerGpu, int Node, double InsideBytesPerSecond, double BetweenBytesPerSecond, double Latency)
{
    /// <summary>
    /// Seconds of a step: what computing takes, and what transfers take beyond the share of it that they run beside. Rings go at the speed
    /// of their slowest link, and wait for a message at each of their n - 1 links once for each collective.
    /// </summary>
    /// <param name="model">What is trained.</param>
    /// <param name="stage">ZeRO's.</param>
    /// <param name="gpus">How many.</param>
    /// <param name="tokensPerGpu">Of a step.</param>
    /// <param name="overlap">Share of the computing that transfers run beside.</param>
    public StepTime Step(ModelShape model, int stage, int gpus, double tokensPerGpu, double overlap)
    {
        // Forward, recomputation, and twice that backward.
        double compute = 8 * model.Parameters * tokensPerGpu / FlopsPerGpu;
        double link = gpus > Node ? BetweenBytesPerSecond : InsideBytesPerSecond;
        double transfer = (ZeroFormula.SentPerParameter(stage, gpus, gradient: 4) * model.Parameters / link)
            + (model.Layers * (stage < 3 ? 2 : 3) * (gpus - 1) * Latency);
        return new StepTime(compute, transfer, compute + Math.Max(0, transfer - (overlap * compute)));
    }
}

/// <summary>What is trained.</summary>
/// <param name="Name">As people call it.</param>
/// <param name="Parameters">All of them.</param>
/// <param name="Layers">Units that are sent at once.</param>
internal sealed record ModelShape(string Name, double Parameters, int Layers);

/// <summary>Seconds.</summary>
internal readonly record struct StepTime(double Compute, double Transfer, double Whole)
{
    /// <summary>Share of the time in which GPUs compute.</summary>
    public double Efficiency => Compute / Whole;
}

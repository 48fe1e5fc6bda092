namespace Nibble.Serving.Tests;

/// <summary>What a job comes to that nothing disturbs, trained once for all the tests that disturb theirs.</summary>
internal static class Undisturbed
{
    /// <summary>How many steps such jobs have: enough to disturb them in the middle.</summary>
    public const int Steps = 24;

    private static readonly Lazy<Task<(IReadOnlyList<double> Losses, byte[] Weights)>> Run = new(RunAsync);

    /// <summary>Another job of as many steps came to the same losses and weights, to the bit.</summary>
    public static async Task AssertSameAsync(Service service, string output)
    {
        (IReadOnlyList<double> losses, byte[] weights) = await Run.Value;
        Assert.Equal(Steps, losses.Count);
        Assert.Equal(losses, service.Losses(output));
        Assert.Equal(weights, service.Weights(output));
    }

    private static async Task<(IReadOnlyList<double>, byte[])> RunAsync()
    {
        await using Service service = await Service.StartAsync();
        await service.UntilAsync(await service.CreateAsync(Service.Request("whole", Steps)), "completed");
        return (service.Losses("whole"), service.Weights("whole"));
    }
}

using System.Collections.Concurrent;
using Microsoft.Extensions.Hosting;
using Nibble.Kernels;
using Nibble.Serving.Workers;
using Nibble.Training;

namespace Nibble.Serving.Chat;

/// <summary>The base models that are chatted with. They take memory beside the jobs that run, and give it back when nobody chats for a while.</summary>
internal sealed class ChatHosts(DeviceMemory memory, ServiceOptions options) : BackgroundService
{
    private static readonly TimeSpan Glance = TimeSpan.FromSeconds(1);

    private readonly ConcurrentDictionary<string, ChatHost> hosts = new();

    /// <summary>The host of a base model.</summary>
    public ChatHost Of(string folder) => hosts.GetOrAdd(folder, name => new ChatHost(name, this, options));

    /// <summary>Takes the memory that a base model needs, if need be from those that nobody chats with.</summary>
    /// <exception cref="ChatException">There is not so much.</exception>
    public async Task<(string Device, long Bytes)> TakeMemoryAsync(string folder, ChatHost host, CancellationToken cancellation)
    {
        string device = memory.Best;
        long needed = Needed(folder, device);
        await memory.Deciding.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            foreach (ChatHost other in hosts.Values.Where(other => other != host).OrderByDescending(other => other.Idle))
            {
                if (memory.Free(device) >= needed)
                {
                    break;
                }

                other.Unload();
            }

            if (memory.Free(device) < needed)
            {
                throw new ChatException(
                    ChatFailure.Memory,
                    $"The model needs about {ByteSize.Format(needed)}; of the {ByteSize.Format(memory.Devices[device])} of {device}, {ByteSize.Format(memory.Free(device))} are free beside jobs and other chats.");
            }

            memory.Take(device, needed);
            return (device, needed);
        }
        finally
        {
            memory.Deciding.Release();
        }
    }

    public void GiveMemory(string device, long bytes) => memory.Take(device, -bytes);

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        while (!stoppingToken.IsCancellationRequested)
        {
            await Task.Delay(Glance < options.ChatIdle ? Glance : options.ChatIdle, stoppingToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            foreach (ChatHost host in hosts.Values.Where(host => host.Idle > options.ChatIdle))
            {
                host.Unload();
            }
        }
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        foreach (ChatHost host in hosts.Values)
        {
            host.Dispose();
        }

        base.Dispose();
    }

    private static long Needed(string folder, string device)
    {
        try
        {
            return ChatMemory.Of(folder, gpu: device != ComputeDevice.Cpu);
        }
        catch (InvalidDataException exception)
        {
            throw new ChatException(ChatFailure.Model, exception.Message);
        }
    }
}

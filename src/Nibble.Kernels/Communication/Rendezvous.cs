using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Nibble.Kernels.Communication;

/// <summary>
/// Processes that meet where MASTER_ADDR and MASTER_PORT say, as those of torchrun do: rank 0 listens there, all others connect to it.
/// The connections stay, and end when a process does.
/// </summary>
internal sealed class Rendezvous : IMeeting
{
    /// <summary>What a process says when it connects: this, its rank, the number of processes and its own name.</summary>
    private static readonly byte[] Greeting = "nibble rendezvous 1\n"u8.ToArray();

    private readonly string[] names;
    private readonly Socket?[] sockets;

    private Rendezvous(int rank, int size)
    {
        Rank = rank;
        Size = size;
        names = [.. Enumerable.Range(0, size).Select(peer => $"rank {peer}")];
        sockets = new Socket?[size];
    }

    /// <inheritdoc/>
    public int Rank { get; }

    /// <inheritdoc/>
    public int Size { get; }

    /// <summary>Meets the other processes.</summary>
    /// <param name="rank">This process.</param>
    /// <param name="size">How many there are.</param>
    /// <param name="environment">Names MASTER_ADDR and MASTER_PORT. The port after it is taken where torchrun's own agent listens at that one.</param>
    /// <param name="limit">How long to wait for the others.</param>
    /// <exception cref="ArgumentException">A variable is missing or wrong, or processes disagree about how many there are.</exception>
    /// <exception cref="IOException">Not all came within the limit.</exception>
    public static Rendezvous Meet(int rank, int size, Func<string, string?> environment, TimeSpan limit)
    {
        string address = Required("MASTER_ADDR");
        string text = Required("MASTER_PORT");
        if (!int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int port) || port is 0 or >= IPEndPoint.MaxPort)
        {
            throw new ArgumentException($"MASTER_PORT is '{text}'; it must be a port number.");
        }

        port += environment("TORCHELASTIC_USE_AGENT_STORE") == "True" ? 1 : 0;
        var meeting = new Rendezvous(rank, size);
        var deadline = new Deadline(limit);
        if (rank == 0)
        {
            meeting.Listen(address, port, deadline);
        }
        else
        {
            meeting.Connect(address, port, deadline);
        }

        return meeting;

        string Required(string name) => environment(name) is { Length: > 0 } value ? value
            : throw new ArgumentException($"{name} is not set: with RANK and WORLD_SIZE it says where the {size} processes meet, and torchrun sets it.");
    }

    /// <inheritdoc/>
    public byte[] Share(byte[] ofRank0)
    {
        try
        {
            if (Rank == 0)
            {
                foreach (Socket socket in sockets.OfType<Socket>())
                {
                    Send(socket, ofRank0);
                }

                return ofRank0;
            }

            return Receive(sockets[0]!, Timeout.InfiniteTimeSpan);
        }
        catch (SocketException exception)
        {
            throw new IOException($"the processes lost each other: {exception.Message}", exception);
        }
    }

    /// <inheritdoc/>
    public string? Missing(TimeSpan limit)
    {
        var deadline = new Deadline(limit);
        if (Rank > 0)
        {
            byte[]? answer = Heard(() =>
            {
                Send(sockets[0]!, [1]);
                return Receive(sockets[0]!, limit + limit); // Rank 0 waits for the others first.
            });
            return answer is null ? Gone([names[0]]) : answer.Length == 0 ? null : Encoding.UTF8.GetString(answer);
        }

        List<int> gone = [.. Enumerable.Range(1, Size - 1).Where(peer => Heard(() => Receive(sockets[peer]!, deadline.Left)) is null)];
        string? text = gone.Count == 0 ? null : Gone(gone.Select(peer => names[peer]));
        foreach (int peer in Enumerable.Range(1, Size - 1).Except(gone))
        {
            Heard(() =>
            {
                Send(sockets[peer]!, Encoding.UTF8.GetBytes(text ?? ""));
                return [];
            });
        }

        return text;
    }

    /// <inheritdoc/>
    public void Leave()
    {
        foreach (Socket? socket in sockets)
        {
            socket?.Dispose();
        }
    }

    /// <summary>The others notice that their connections end.</summary>
    public void Abort(int code) => Leave();

    private static string Gone(IEnumerable<string> who) => $"{string.Join(", ", who)} did not come to this step";

    private static byte[]? Heard(Func<byte[]> exchange)
    {
        try
        {
            return exchange();
        }
        catch (SocketException)
        {
            return null;
        }
    }

    private void Listen(string address, int port, Deadline deadline)
    {
        using var listener = new Socket(SocketType.Stream, ProtocolType.Tcp);
        try
        {
            listener.Bind(new IPEndPoint(Resolve(address), port));
            listener.Listen(Size);
        }
        catch (SocketException exception)
        {
            throw new IOException($"rank 0 cannot listen at MASTER_ADDR and MASTER_PORT, {address}:{port}: {exception.Message}", exception);
        }

        while (sockets.Count(socket => socket is not null) < Size - 1)
        {
            if (!listener.Poll(deadline.Left, SelectMode.SelectRead))
            {
                string missing = string.Join(", ", Enumerable.Range(1, Size - 1).Where(peer => sockets[peer] is null).Select(peer => names[peer]));
                throw new IOException($"{missing} of {Size} did not come to {address}:{port} (MASTER_ADDR, MASTER_PORT) within {deadline}.");
            }

            Welcome(listener.Accept(), deadline);
        }
    }

    private void Welcome(Socket socket, Deadline deadline)
    {
        if (Heard(() => Receive(socket, deadline.Left)) is not { } hello || !hello.AsSpan().StartsWith(Greeting) || hello.Length < Greeting.Length + 8)
        {
            socket.Dispose(); // A stranger.
            return;
        }

        ReadOnlySpan<byte> said = hello.AsSpan(Greeting.Length);
        int rank = BinaryPrimitives.ReadInt32LittleEndian(said);
        int size = BinaryPrimitives.ReadInt32LittleEndian(said[4..]);
        string name = $"rank {rank} ({Encoding.UTF8.GetString(said[8..])})";
        if (size != Size || rank < 1 || rank >= Size || sockets[rank] is not null)
        {
            throw new ArgumentException(
                $"{name} says that WORLD_SIZE is {size}, and rank 0 that it is {Size}; each rank of 0 to {Size - 1} must be there once.");
        }

        names[rank] = name;
        sockets[rank] = socket;
        Send(socket, Encoding.UTF8.GetBytes(OwnName));
    }

    private void Connect(string address, int port, Deadline deadline)
    {
        for (; ; )
        {
            var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
            try
            {
                if (!socket.ConnectAsync(new IPEndPoint(Resolve(address), port)).Wait(deadline.Left))
                {
                    throw new SocketException((int)SocketError.TimedOut);
                }

                byte[] numbers = new byte[8];
                BinaryPrimitives.WriteInt32LittleEndian(numbers, Rank);
                BinaryPrimitives.WriteInt32LittleEndian(numbers.AsSpan(4), Size);
                Send(socket, [.. Greeting, .. numbers, .. Encoding.UTF8.GetBytes(OwnName)]);
                names[0] = $"rank 0 ({Encoding.UTF8.GetString(Receive(socket, deadline.Left))})";
                sockets[0] = socket;
                return;
            }
            catch (Exception exception) when (exception is SocketException or AggregateException { InnerException: SocketException })
            {
                socket.Dispose();
                if (deadline.Left == TimeSpan.Zero)
                {
                    throw new IOException(
                        $"rank {Rank} did not find rank 0 at {address}:{port} (MASTER_ADDR, MASTER_PORT) within {deadline}: {exception.GetBaseException().Message}", exception);
                }

                Thread.Sleep(TimeSpan.FromMilliseconds(100)); // Rank 0 may start later.
            }
        }
    }

    private static string OwnName => $"process {Environment.ProcessId} on {Environment.MachineName}";

    private static IPAddress Resolve(string address) => IPAddress.TryParse(address, out IPAddress? known) ? known : Dns.GetHostAddresses(address)[0];

    private static void Send(Socket socket, byte[] message)
    {
        byte[] length = new byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(length, message.Length);
        foreach (ReadOnlyMemory<byte> part in new ReadOnlyMemory<byte>[] { length, message })
        {
            for (int sent = 0; sent < part.Length;)
            {
                sent += socket.Send(part.Span[sent..], SocketFlags.None);
            }
        }
    }

    /// <exception cref="SocketException">The other side is gone, or said nothing for so long.</exception>
    private static byte[] Receive(Socket socket, TimeSpan limit)
    {
        const int Longest = 1 << 16; // Ids and names; a stranger may send anything.
        int length = BinaryPrimitives.ReadInt32LittleEndian(Exactly(sizeof(int)));
        return length is >= 0 and <= Longest ? Exactly(length) : throw new SocketException((int)SocketError.MessageSize);

        byte[] Exactly(int bytes)
        {
            byte[] buffer = new byte[bytes];
            for (int received = 0; received < bytes;)
            {
                int count = socket.Poll(limit, SelectMode.SelectRead) ? socket.Receive(buffer.AsSpan(received)) : throw new SocketException((int)SocketError.TimedOut);
                received += count > 0 ? count : throw new SocketException((int)SocketError.ConnectionReset);
            }

            return buffer;
        }
    }

    private readonly struct Deadline(TimeSpan limit)
    {
        private readonly long start = Stopwatch.GetTimestamp();

        public TimeSpan Left => TimeSpan.FromTicks(Math.Max(0, (limit - Stopwatch.GetElapsedTime(start)).Ticks));

        public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{limit.TotalSeconds:0.#} s");
    }
}

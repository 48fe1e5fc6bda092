using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Nibble.Tests;
using Npgsql;

[assembly: AssemblyFixture(typeof(Nibble.Serving.Tests.PostgresServer))]

namespace Nibble.Serving.Tests;

/// <summary>
/// A real PostgreSQL on a free port of loopback, started when the first test asks for a database, over a folder that goes with it. Tests
/// skip where it is not installed.
/// </summary>
public sealed class PostgresServer : IAsyncDisposable
{
    private const string System = "/usr/lib/postgresql";

    private readonly SemaphoreSlim starting = new(1);
    private readonly TempFolder folder = new();
    private readonly int port = FreePort();
    private Process? process;
    private int databases;

    /// <summary>The address of a new database.</summary>
    public async Task<string> NewDatabaseAsync()
    {
        await starting.WaitAsync(TestContext.Current.CancellationToken);
        try
        {
            if (process is null)
            {
                Initialise();
                await StartAsync();
            }
        }
        finally
        {
            starting.Release();
        }

        string name = $"test{Interlocked.Increment(ref databases)}";
        await AskAsync(Address("postgres"), $"CREATE DATABASE {name}");
        return Address(name);
    }

    /// <summary>Starts it over what is there.</summary>
    public async Task StartAsync()
    {
        process = Process.Start(AsItsUser(
            Program("postgres"),
            ["-D", folder["data"], "-p", $"{port}", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "log_min_messages=panic"]))!;
        process.ErrorDataReceived += (_, _) => { };
        process.BeginErrorReadLine();
        for (var clock = Stopwatch.StartNew(); ;)
        {
            try
            {
                await AskAsync(Address("postgres"), "SELECT 1");
                return;
            }
            catch (NpgsqlException) when (clock.Elapsed < TimeSpan.FromSeconds(30))
            {
                await Task.Delay(50);
            }
        }
    }

    /// <summary>Ends it, and every connection with it.</summary>
    public async Task StopAsync()
    {
        Service.Send("-INT", process!.Id); // What it calls a fast shutdown.
        await process.WaitForExitAsync();
        process.Dispose();
        process = null;
    }

    /// <summary>The answer to a question, as text.</summary>
    public static async Task<string?> AskAsync(string address, string question)
    {
        await using var connection = new NpgsqlConnection($"{address};Pooling=false");
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand(question, connection);
        return (await command.ExecuteScalarAsync())?.ToString();
    }

    public async ValueTask DisposeAsync()
    {
        if (process is not null)
        {
            await StopAsync();
        }

        starting.Dispose();
        folder.Dispose();
    }

    private string Address(string database) => $"Host=127.0.0.1;Port={port};Username=nibble;Database={database}";

    private void Initialise()
    {
        string program = Program("initdb"); // Skips where there is none.
        if (Environment.UserName == "root")
        {
            Run(new ProcessStartInfo("chown", ["postgres", folder.Path]));
        }

        Run(AsItsUser(program, ["-D", folder["data"], "-U", "nibble", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]));
    }

    private static string Program(string name)
    {
        string? found = Directory.Exists(System) ? Directory.EnumerateDirectories(System).Select(version => Path.Combine(version, "bin", name)).LastOrDefault(File.Exists) : null;
        if (found is null)
        {
            Assert.Skip($"PostgreSQL is not installed: there is no {System}/*/bin/{name} (Debian: apt-get install postgresql).");
        }

        return found;
    }

    /// <summary>It refuses to run as root.</summary>
    private static ProcessStartInfo AsItsUser(string program, string[] arguments) => new(
        Environment.UserName == "root" ? "setpriv" : program,
        Environment.UserName == "root" ? ["--reuid=postgres", "--regid=postgres", "--clear-groups", program, .. arguments] : arguments)
    {
        RedirectStandardError = true,
        WorkingDirectory = "/",
    };

    private static void Run(ProcessStartInfo command)
    {
        command.RedirectStandardOutput = true;
        command.RedirectStandardError = true;
        using Process program = Process.Start(command)!;
        Task<string> error = program.StandardError.ReadToEndAsync();
        program.StandardOutput.ReadToEnd();
        program.WaitForExit();
        Assert.True(program.ExitCode == 0, $"{command.FileName} {string.Join(' ', command.ArgumentList)}: {error.Result}");
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}

using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Nibble.Serving.Keys;
using Spectre.Console;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble keys</c></summary>
internal static class KeysCommand
{
    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    public static Command Create() => new("keys", "Make, list and revoke the keys that a service's callers bear.") { Make(), List(), Revoke() };

    private static Command Make()
    {
        var name = new Option<string>("--name") { Description = "Whose the key is, or what for.", HelpName = "TEXT", Required = true };
        var scope = new Option<KeyScope>("--scope") { Description = "What it is for: read; train, which includes read; or admin, which includes both, for everybody's jobs.", Required = true };
        scope.AcceptOnlyFromAmong("read", "train", "admin");
        var rate = new Option<int?>("--rate") { Description = "Requests that it may make in any minute.", HelpName = "N" };
        var concurrency = new Option<int?>("--concurrency") { Description = "Jobs of it that may run at the same time; others wait.", HelpName = "N" };
        Option<string?> database = ServeCommand.Database();
        var command = new Command("create", "Make a key, and show it this once.") { name, scope, rate, concurrency, database };
        command.SetAction(async (result, _) =>
        {
            using KeyRing keys = Open(result.GetValue(database));
            (ApiKey key, string text) = await keys.CreateAsync(result.GetValue(name)!, result.GetValue(scope), result.GetValue(rate), result.GetValue(concurrency)).ConfigureAwait(false);
            await Console.Error.WriteLineAsync($"This is key {key.Id}; keep it, it cannot be shown again.").ConfigureAwait(false);
            Console.WriteLine(text);
        });
        return command;
    }

    private static Command List()
    {
        Option<string?> database = ServeCommand.Database();
        Option<bool> json = CommonOptions.Json();
        var command = new Command("list", "List all keys, without their secrets.") { database, json };
        command.SetAction(async (result, _) =>
        {
            using KeyRing keys = Open(result.GetValue(database));
            Show(await keys.ListAsync().ConfigureAwait(false), result.GetValue(json));
        });
        return command;
    }

    private static Command Revoke()
    {
        var id = new Argument<string>("ID") { Description = "The key, as 'keys list' calls it." };
        Option<string?> database = ServeCommand.Database();
        var command = new Command("revoke", "Make a key worthless from now on.") { id, database };
        command.SetAction(async (result, _) =>
        {
            using KeyRing keys = Open(result.GetValue(database));
            if (!await keys.RevokeAsync(result.GetValue(id)!).ConfigureAwait(false))
            {
                throw new InvalidDataException($"there is no key {result.GetValue(id)}.");
            }
        });
        return command;
    }

    private static KeyRing Open(string? database) => new(database ?? ServeCommand.DefaultDatabase);

    private static void Show(IReadOnlyList<ApiKey> keys, bool json)
    {
        if (json)
        {
            Console.WriteLine(JsonSerializer.Serialize(
                keys.Select(key => new { key.Id, key.Name, Scope = Scope(key), key.Rate, key.Concurrency, key.Created, key.Revoked, key.LastUsed }), Json));
            return;
        }

        Table table = new Table().Border(TableBorder.Simple).AddColumn(new TableColumn("key").NoWrap()).AddColumns("name", "scope", "requests/min", "jobs", "created", "last used", "revoked");
        foreach (ApiKey key in keys)
        {
            string[] cells =
            [
                key.Id, Terminal.Visible(key.Name, lines: false), Scope(key), $"{key.Rate}", $"{key.Concurrency}", Time(key.Created), Time(key.LastUsed), Time(key.Revoked),
            ];
            table.AddRow(cells.Select(cell => new Text(cell)));
        }

        Terminal.Output.Write(table);
    }

    private static string Scope(ApiKey key) => key.Scope.ToString().ToLowerInvariant();

    private static string Time(DateTimeOffset? time) => time?.ToLocalTime().ToString("yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture) ?? "";
}

using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Nibble.Training.Configuration;
using Nibble.Training.Prompts;

namespace Nibble.Serving.Jobs;

/// <summary>Makes the configuration of a run from a request.</summary>
internal static class JobConfiguration
{
    private static readonly JsonSerializerOptions Plain = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Keys of a configuration that requests spell in their own way.</summary>
    private static readonly Dictionary<string, string> OwnNames = new()
    {
        ["model"] = "model_name",
        ["data.train"] = "training_data_path",
        ["output_dir"] = "output_dir",
        ["lora.r"] = "lora_r",
        ["training.num_train_epochs"] = "num_epochs",
        ["training.per_device_train_batch_size"] = "batch_size",
        ["training.learning_rate"] = "learning_rate",
    };

    /// <summary>A valid configuration whose paths are real and lie below the service's folders.</summary>
    /// <exception cref="FieldException">A field of the request cannot be accepted.</exception>
    public static RunConfig Of(JobRequest request, ServiceOptions options)
    {
        List<KeyValuePair<string, string>> settings = [.. Settings(request.Config ?? [], "")];
        foreach ((string key, string value) in settings)
        {
            RequireOthersThan(OwnNames.Keys.Take(3), Load($"config.{key}", [$"{key}={value}"]));
        }

        RunConfig config = Load("config", [.. settings.Select(setting => $"{setting.Key}={setting.Value}"), .. Named(request)]);
        if (request.UseLora is { } adapter && adapter == (config.Method == Method.Full))
        {
            throw new FieldException("use_lora", $"is {(adapter ? "true" : "false")}, but config.method is {ConfigBinder.KeyOf(config.Method.ToString())}");
        }

        return Validated(config with
        {
            Model = Weights("model_name", options.ModelRoot, request.ModelName),
            OutputDir = Resolve("output_dir", options.OutputRoot, request.OutputDir),
            Data = config.Data with
            {
                Train = Existing("training_data_path", options.DataRoot, request.TrainingDataPath, File.Exists),
                Eval = config.Data.Eval is { } evaluation ? Existing("config.data.eval", options.DataRoot, evaluation, File.Exists) : null,
                ChatTemplate = config.Data.ChatTemplate is { } template and not NamedTemplate.Roles
                    ? Existing("config.data.chat_template", options.DataRoot, template, File.Exists)
                    : config.Data.ChatTemplate,
            },
            Lora = config.Lora with
            {
                InitAdapter = config.Lora.InitAdapter is { } initial ? Weights("config.lora.init_adapter", options.OutputRoot, initial) : null,
            },
        });
    }

    /// <summary>Leaves of the tree, each value as JSON, which is YAML as well.</summary>
    private static IEnumerable<KeyValuePair<string, string>> Settings(JsonObject section, string path) => section.SelectMany(item => item.Value is JsonObject inner
        ? Settings(inner, $"{path}{item.Key}.")
        : [KeyValuePair.Create(path + item.Key, item.Value?.ToJsonString(Plain) ?? "null")]);

    private static IEnumerable<string> Named(JobRequest request)
    {
        CultureInfo culture = CultureInfo.InvariantCulture;
        (string Key, string? Value)[] fields =
        [
            ("method", request.UseLora is false ? "full" : null),
            ("lora.r", request.LoraR?.ToString(culture)),
            ("training.num_train_epochs", request.NumEpochs?.ToString("R", culture)),
            ("training.per_device_train_batch_size", request.BatchSize?.ToString(culture)),
            ("training.learning_rate", request.LearningRate?.ToString("R", culture)),
        ];
        return fields.Where(field => field.Value is not null).Select(field => $"{field.Key}={field.Value}");
    }

    private static RunConfig Load(string field, IReadOnlyList<string> assignments)
    {
        try
        {
            return ConfigBinder.Load(null, assignments);
        }
        catch (Exception exception) when (exception is ArgumentException or InvalidDataException)
        {
            throw new FieldException(field, exception.Message);
        }
    }

    /// <summary>A key with a trick in it may set another than it seems to, so what counts is what was set.</summary>
    private static void RequireOthersThan(IEnumerable<string> keys, RunConfig config)
    {
        Dictionary<string, string> defaults = ConfigBinder.Settings(new RunConfig()).ToDictionary();
        Dictionary<string, string> values = ConfigBinder.Settings(config).ToDictionary();
        if (keys.FirstOrDefault(key => values[key] != defaults[key]) is { } own)
        {
            throw new FieldException($"config.{own}", $"is the request's {OwnNames[own]}");
        }
    }

    /// <summary>Messages begin with the key.</summary>
    private static RunConfig Validated(RunConfig config)
    {
        try
        {
            return config.Validated();
        }
        catch (ArgumentException exception)
        {
            string key = exception.Message.Split(' ')[0];
            bool known = ConfigBinder.Settings(config).Any(setting => setting.Key == key);
            string problem = known && exception.Message.StartsWith($"{key} is ", StringComparison.Ordinal) ? exception.Message[(key.Length + 1)..] : exception.Message; // The field says the key.
            throw new FieldException(OwnNames.GetValueOrDefault(key) ?? (known ? $"config.{key}" : "config"), problem);
        }
    }

    /// <summary>A folder of weights; of none that only a pickle holds, which can run code when it is read.</summary>
    private static string Weights(string field, PathRoot root, string path)
    {
        string folder = Existing(field, root, path, Directory.Exists);
        return Directory.EnumerateFiles(folder, "*.safetensors").Any() ? folder : throw new FieldException(field, $"'{path}' has no weights in safetensors, which alone are read");
    }

    private static string Existing(string field, PathRoot root, string path, Func<string, bool> exists)
    {
        string resolved = Resolve(field, root, path);
        return exists(resolved) ? resolved : throw new FieldException(field, $"'{path}' does not exist");
    }

    private static string Resolve(string field, PathRoot root, string path)
    {
        try
        {
            return root.Resolve(path);
        }
        catch (ArgumentException exception)
        {
            throw new FieldException(field, exception.Message);
        }
    }
}

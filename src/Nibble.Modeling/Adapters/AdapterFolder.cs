using System.Text.Json;
using System.Text.Json.Nodes;
using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Decoder;
using static TorchSharp.torch;

namespace Nibble.Modeling.Adapters;

/// <summary>Reads and writes adapters in PEFT's folders: <c>adapter_config.json</c> and <c>adapter_model.safetensors</c>.</summary>
public static class AdapterFolder
{
    /// <summary>The file of an adapter's settings.</summary>
    public const string ConfigFile = "adapter_config.json";

    /// <summary>The file of its weights.</summary>
    public const string WeightsFile = "adapter_model.safetensors";

    /// <summary>What the names of tensors begin with in that file.</summary>
    public const string Prefix = "base_model.model.";

    /// <summary>Settings of PEFT that change the computation and are not supported unless they have this value.</summary>
    private static readonly Dictionary<string, JsonNode?> Required = new()
    {
        ["peft_type"] = "LORA",
        ["bias"] = "none",
        ["use_dora"] = false,
        ["fan_in_fan_out"] = false,
        ["lora_bias"] = false,
        ["use_qalora"] = false,
        ["rank_pattern"] = new JsonObject(),
        ["alpha_pattern"] = new JsonObject(),
        ["layers_pattern"] = null,
        ["layer_replication"] = null,
        ["exclude_modules"] = null,
        ["target_parameters"] = null,
        ["trainable_token_indices"] = null,
        ["alora_invocation_tokens"] = null,
        ["arrow_config"] = null,
        ["use_bdlora"] = null,
    };

    /// <summary>Attaches a stored adapter to a model.</summary>
    /// <param name="model">The model that it was made for.</param>
    /// <param name="folder">PEFT's folder.</param>
    /// <param name="adjust">Changes settings that do not belong to the stored values, such as dropout for further training.</param>
    /// <exception cref="InvalidDataException">The folder is damaged, uses a feature that is not supported, or belongs to another model.</exception>
    public static LoraAdapter Load(DecoderModel model, string folder, Func<LoraConfig, LoraConfig>? adjust = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        LoraConfig config = ReadConfig(folder);
        using SafetensorsFile file = SafetensorsFile.Open(Path.Combine(folder, WeightsFile));
        var unused = new HashSet<string>(file.Tensors.Keys);
        Tensor Read(string name, long rows, long columns)
        {
            unused.Remove(name);
            using Tensor stored = file.View(name);
            return stored.shape is [long r, long c] && (rows == 0 || r == rows) && (columns == 0 || c == columns)
                ? stored.to(ScalarType.Float32, model.Device, copy: true)
                : throw new InvalidDataException(
                    $"{file.Path}: '{name}' is [{string.Join(", ", stored.shape)}], the model needs [{rows}, {columns}]; the adapter belongs to another model.");
        }

        LoraAdapter adapter;
        try
        {
            adapter = LoraAdapter.Attach(model, adjust?.Invoke(config) ?? config, layer => (
                Read($"{Prefix}{layer.Name}.lora_A.weight", config.R, layer.Weight.InFeatures),
                Read($"{Prefix}{layer.Name}.lora_B.weight", layer.Weight.OutFeatures, config.R)));
        }
        catch (ArgumentException exception)
        {
            throw new InvalidDataException($"{folder} does not fit the model: {exception.Message}", exception);
        }

        try
        {
            using IDisposable noGrad = no_grad();
            foreach (Parameter parameter in adapter.SavedModules)
            {
                unused.Remove(Prefix + parameter.Name);
                using Tensor stored = file.View(Prefix + parameter.Name);
                if (!stored.shape.SequenceEqual(parameter.Value.shape))
                {
                    throw new InvalidDataException($"{file.Path}: '{Prefix}{parameter.Name}' has another shape than the model's; the adapter belongs to another model.");
                }

                parameter.Value.copy_(stored);
            }

            return unused.Count == 0
                ? adapter
                : throw new InvalidDataException($"{file.Path}: '{unused.Order().First()}' has no place in this model; the adapter belongs to another model.");
        }
        catch
        {
            adapter.Dispose();
            throw;
        }
    }

    /// <summary>Writes an adapter as PEFT reads it.</summary>
    /// <param name="adapter">The adapter.</param>
    /// <param name="folder">Must exist.</param>
    /// <param name="baseModel">What <c>base_model_name_or_path</c> says.</param>
    public static void Save(LoraAdapter adapter, string folder, string baseModel)
    {
        ArgumentNullException.ThrowIfNull(adapter);
        SafetensorsWriter.Write(
            Path.Combine(folder, WeightsFile),
            adapter.Parameters.OrderBy(parameter => parameter.Name, StringComparer.Ordinal)
                .Select(parameter => KeyValuePair.Create(Prefix + parameter.Name, parameter.Value)));
        SaveConfig(adapter.Config, folder, baseModel);
    }

    /// <summary>Writes an adapter's settings as PEFT reads them.</summary>
    /// <param name="config">The settings.</param>
    /// <param name="folder">Must exist.</param>
    /// <param name="baseModel">What <c>base_model_name_or_path</c> says.</param>
    public static void SaveConfig(LoraConfig config, string folder, string baseModel)
    {
        ArgumentNullException.ThrowIfNull(config);
        var json = new JsonObject
        {
            ["base_model_name_or_path"] = baseModel,
            ["inference_mode"] = true,
            ["init_lora_weights"] = true,
            ["layers_to_transform"] = JsonSerializer.SerializeToNode(config.LayersToTransform),
            ["lora_alpha"] = config.LoraAlpha,
            ["lora_dropout"] = config.LoraDropout,
            ["modules_to_save"] = config.ModulesToSave.Count == 0 ? null : JsonSerializer.SerializeToNode(config.ModulesToSave),
            ["r"] = config.R,
            ["revision"] = null,
            ["target_modules"] = config.TargetModules is [LoraConfig.AllLinear] ? LoraConfig.AllLinear : JsonSerializer.SerializeToNode(config.TargetModules),
            ["task_type"] = "CAUSAL_LM",
            ["use_rslora"] = config.UseRslora,
        };
        foreach ((string key, JsonNode? value) in Required.Where(item => item.Value is not null))
        {
            json[key] = value!.DeepClone();
        }

        AtomicFile.WriteText(Path.Combine(folder, ConfigFile), json.ToJsonString(new JsonSerializerOptions { WriteIndented = true }));
    }

    private static LoraConfig ReadConfig(string folder)
    {
        string path = Path.Combine(folder, ConfigFile);
        if (!File.Exists(path))
        {
            throw new InvalidDataException($"{path} does not exist; an adapter is a folder with {ConfigFile} and {WeightsFile}.");
        }

        try
        {
            JsonObject json = JsonNode.Parse(File.ReadAllText(path))!.AsObject();
            foreach ((string key, JsonNode? supported) in Required)
            {
                if (json[key] is { } value && !JsonNode.DeepEquals(value, supported))
                {
                    throw new InvalidDataException($"{path}: '{key}' is {value.ToJsonString()}, which is not supported.");
                }
            }

            return new LoraConfig
            {
                R = (int)json["r"]!,
                LoraAlpha = (double)json["lora_alpha"]!,
                LoraDropout = (double?)json["lora_dropout"] ?? 0,
                UseRslora = (bool?)json["use_rslora"] ?? false,
                TargetModules = json["target_modules"] is JsonArray list ? list.Deserialize<string[]>()! : [json["target_modules"]?.ToString() ?? ""],
                ModulesToSave = json["modules_to_save"].Deserialize<string[]>() ?? [],
                LayersToTransform = json["layers_to_transform"] is JsonValue one ? [(int)one] : json["layers_to_transform"].Deserialize<int[]>(),
            };
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException or FormatException or NullReferenceException)
        {
            throw new InvalidDataException($"{path} is not a valid adapter configuration: {exception.Message}", exception);
        }
    }
}

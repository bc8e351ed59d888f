"""What `zappa deploy` writes into a package, here by hand: zappa.handler imports it by this name."""

import os

APP_MODULE = "zappa_service"
APP_FUNCTION = "app"
DEBUG = False
LOG_LEVEL = "INFO"
BINARY_SUPPORT = True
CONTEXT_HEADER_MAPPINGS: dict[str, str] = {}
DOMAIN = None
BASE_PATH = None
ENVIRONMENT_VARIABLES = {
    "LAMBDAMAP_ALLOW": "df_utils:feature_calculation zappa_service:* lambdamap.calls.classic:*"
}
API_STAGE = "dev"
PROJECT_NAME = "lambdamap-example"
SETTINGS_FILE = None
DJANGO_SETTINGS = None
EXCEPTION_HANDLER = os.environ.get("ZAPPA_EXCEPTION_HANDLER")
SLIM_HANDLER = False
AWS_EVENT_MAPPING: dict[str, str] = {}
ASYNC_RESPONSE_TABLE = None
AWS_BOT_EVENT_MAPPING: dict[str, str] = {}
COGNITO_TRIGGER_MAPPING: dict[str, str] = {}
AUTHORIZER_FUNCTION = None
